import type { MethodsOf, Signature } from "../../src/guest/Arguments.ts"
import * as Command from "../../src/guest/Command.ts"
import * as Console from "../../src/guest/Console.ts"
import * as Copy from "../../src/guest/Copy.ts"
import * as File from "../../src/guest/File.ts"
import * as Interact from "../../src/guest/Interact.ts"
import * as Journal from "../../src/guest/Journal.ts"
import * as Port from "../../src/guest/Port.ts"
import * as Socket from "../../src/guest/Socket.ts"
import * as Spawn from "../../src/guest/Spawn.ts"
import * as Terminal from "../../src/guest/Terminal.ts"
import * as Unit from "../../src/guest/Unit.ts"
import * as Control from "../../src/machine/Control.ts"
import * as Hotplug from "../../src/machine/Hotplug.ts"
import * as Life from "../../src/machine/Life.ts"
import * as Link from "../../src/machine/Link.ts"
import type { Machine } from "../../src/machine/Machine.ts"
import * as Snapshot from "../../src/machine/Snapshot.ts"
import * as Keyboard from "../../src/screen/Keyboard.ts"
import * as Mouse from "../../src/screen/Mouse.ts"
import * as Recording from "../../src/screen/Recording.ts"
import * as Screen from "../../src/screen/Screen.ts"
import * as ScreenImage from "../../src/screen/ScreenImage.ts"
import * as X11 from "../../src/screen/X11.ts"

/** What every method of a machine takes: the compiler says when one is missing. */
export const parameters: Readonly<Record<MethodsOf<Machine>, Signature>> = {
  ...Life.parameters,
  ...Command.parameters,
  ...Spawn.parameters,
  ...Unit.parameters,
  ...Journal.parameters,
  ...File.parameters,
  ...Copy.parameters,
  ...Port.parameters,
  ...Socket.parameters,
  ...Console.parameters,
  ...Screen.parameters,
  ...ScreenImage.parameters,
  ...Recording.parameters,
  ...Keyboard.parameters,
  ...Mouse.parameters,
  ...X11.parameters,
  ...Terminal.parameters,
  ...Control.parameters,
  ...Link.parameters,
  ...Hotplug.parameters,
  ...Snapshot.parameters,
  ...Interact.parameters
}
