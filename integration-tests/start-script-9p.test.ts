import * as Fs from "node:fs"
import * as Path from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { Driver } from "../src/driver/Driver.ts"
import * as DriverLayer from "../src/driver/DriverLayer.ts"
import * as Image from "../src/images/Image.ts"
import { ImageStore } from "../src/images/ImageStore.ts"
import { image, scripts } from "./nixosScript.ts"

const live = <E>(title: string, test: Effect.Effect<unknown, E, Driver | ImageStore | Scope.Scope>) =>
  it.live(
    title,
    () =>
      Effect.scoped(test).pipe(
        Effect.provide(Layer.mergeAll(DriverLayer.layer({ name: "start-script-9p" }), ImageStore.layer))
      ),
    900_000
  )

describe("a machine whose start script shares folders over 9p", () => {
  live(
    "shares them with the host, and is not saved once they are mounted, as QEMU says",
    Effect.gen(function* () {
      const { folder, make } = yield* scripts
      const path = yield* make({ name: "shares", shares: true }, image({ kernel: "generic" }))
      const driver = yield* Driver
      const shared = Path.join(folder, "shared")
      Fs.mkdirSync(shared)
      const env = { SHARED_DIR: shared }
      const machine = yield* driver.machine("shares", { image: Image.startScript({ path, env }) })
      yield* machine.succeed(
        "modprobe 9pnet_virtio && mkdir -p /tmp/shared && mount -t 9p -o trans=virtio,version=9p2000.L shared /tmp/shared"
      )
      const [, told = ""] = /the shared folder is (.+?)\r?\n/.exec(yield* machine.getConsoleLog()) ?? []
      Fs.writeFileSync(Path.join(told, "from-the-host"), "hello\n")
      assert.strictEqual(yield* machine.succeed("cat /tmp/shared/from-the-host"), "hello\n")
      yield* machine.succeed("echo back >/tmp/shared/from-the-guest")
      assert.strictEqual(Fs.readFileSync(Path.join(told, "from-the-guest"), "utf8"), "back\n")
      const refused = yield* Effect.flip(machine.snapshot())
      assert.strictEqual(refused._tag, "SaveFailed")
      assert.match(refused.message, new RegExp(`could not save the machine to .*${told}.*is mounted in the guest`, "s"))
      // It runs on.
      assert.strictEqual(yield* machine.succeed("cat /tmp/shared/from-the-guest"), "back\n")
    })
  )
})
