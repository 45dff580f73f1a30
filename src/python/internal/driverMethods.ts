/** What a script asks of the driver. */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Places from "../../driver/Places.ts"
import type { ScriptSetting } from "../Setting.ts"
import type { StartScriptsService } from "../StartScripts.ts"
import type { InterpreterService } from "./interpreter.ts"
import { type Method, method } from "./method.ts"
import { type MachineInfo, Raised } from "./protocol.ts"
import type { Subtests } from "./subtests.ts"

/** What the driver's methods use. */
export interface Conversation {
  readonly places: Places.Places
  readonly scripts: StartScriptsService
  readonly subtests: Subtests
  readonly setting: ScriptSetting
  readonly errorOf: (raised: Raised) => Error
  /** Takes a machine that was made while the script runs. */
  readonly addMachine: (name: string) => Effect.Effect<void>
}

/** A machine and its folders. */
export const infoOf = Effect.fnUntraced(function* (places: Places.Places, name: string) {
  const info: MachineInfo = {
    name,
    stateDir: yield* places.stateFolder(name),
    sharedDir: yield* places.sharedFolder,
    tmpDir: places.temporary,
    startScript: places.startCommand(name) ?? null
  }
  return info
})

/** A call for the driver: the subtest that it is in, and its arguments. */
interface Target {
  readonly conversation: Conversation
  readonly interpreter: Pick<InterpreterService, "passInterrupts">
  readonly within: number
}

/** The methods of the driver, by their names on the channel. */
export const driverMethods: Readonly<Record<string, Method<Target>>> = {
  begin_subtest: method({ name: Schema.String }, ({ conversation, within }, { name }) =>
    conversation.subtests.begin(name, within)
  ),
  end_subtest: method(
    { number: Schema.Int, raised: Schema.optionalKey(Raised) },
    ({ conversation }, { number, raised }) =>
      conversation.subtests.end(number, raised === undefined ? undefined : conversation.errorOf(raised))
  ),
  show_consoles: method({ shown: Schema.Boolean }, ({ conversation }, { shown }) =>
    conversation.setting.showConsoles(shown)
  ),
  pass_interrupts: method({ passed: Schema.Boolean }, ({ interpreter }, { passed }) =>
    interpreter.passInterrupts(passed)
  ),
  /** The folder of the switch's socket, as QEMU and vde_plug take it. */
  vlan_socket: method({ nr: Schema.Int }, ({ conversation }, { nr }) => conversation.places.vlan(nr)),
  create_machine: method(
    {
      command: Schema.String,
      name: Schema.NullOr(Schema.String),
      keep: Schema.Boolean,
      environment: Schema.Record(Schema.String, Schema.NullOr(Schema.String))
    },
    ({ conversation }, { command, environment, keep, name }) =>
      Effect.gen(function* () {
        const { addMachine, places, scripts } = conversation
        const made = yield* scripts.create({ command, name: name ?? undefined, keepState: keep, environment })
        yield* addMachine(made)
        return yield* infoOf(places, made)
      })
  )
}
