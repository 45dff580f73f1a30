import { assert } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Image from "../src/images/Image.ts"
import type { Machine as MachineOf } from "../src/machine/Machine.ts"
import { Machine, machines } from "../src/vitest.ts"

class Web extends Machine<Web>()("web", { image: Image.debian({ packages: ["nginx-light"] }), memory: "512 MiB" }) {}

/** Puts a unit into the running guest. */
const unit = (machine: MachineOf, name: string, service: string) =>
  Effect.andThen(
    machine.writeFile(`/etc/systemd/system/${name}`, `[Unit]\nDescription=${name}\n[Service]\n${service}\n`),
    machine.succeed("systemctl daemon-reload")
  )

machines(Web)("systemd units", (it) => {
  it.effect("are waited for until they are active", () =>
    Effect.gen(function* () {
      const web = yield* Web
      yield* web.waitForUnit("nginx.service")
      yield* web.waitForUnit("multi-user.target")
      yield* web.waitForOpenPort(80)
      assert.strictEqual(yield* web.getUnitProperty("nginx.service", "ActiveState"), "active")
      assert.strictEqual((yield* web.getUnitInfo("nginx.service")).LoadState, "loaded")
      yield* web.requireUnitState("nginx.service")
    })
  )

  it.effect("are noticed when they become active", () =>
    Effect.gen(function* () {
      const web = yield* Web
      yield* unit(web, "slow.service", "Type=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sleep 2")
      yield* web.succeed("systemctl start --no-block slow.service")
      yield* web.waitForUnit("slow.service", { timeout: "1 minute" })
      assert.strictEqual(yield* web.getUnitProperty("slow.service", "SubState"), "exited")
    })
  )

  it.effect("fail the wait at once when they failed, with their journal", () =>
    Effect.gen(function* () {
      const web = yield* Web
      yield* unit(web, "broken.service", "ExecStart=/bin/sh -c 'echo cannot find the configuration; exit 7'")
      yield* web.succeed("systemctl start --no-block broken.service")
      const started = yield* Clock.currentTimeMillis
      const error = yield* Effect.flip(web.waitForUnit("broken.service", { timeout: "2 minutes" }))
      assert.isBelow((yield* Clock.currentTimeMillis) - started, 30_000)
      assert.strictEqual(error._tag, "UnitFailed")
      if (error._tag !== "UnitFailed") return
      assert.strictEqual(error.state, "failed")
      assert.include(error.journal, "cannot find the configuration")
      assert.include(error.message, "cannot find the configuration")
    })
  )

  it.effect("fail the wait at once when they are inactive and nothing is pending", () =>
    Effect.gen(function* () {
      const web = yield* Web
      yield* unit(web, "idle.service", "ExecStart=/bin/sleep 600")
      const idle = yield* Effect.flip(web.waitForUnit("idle.service", { timeout: "2 minutes" }))
      assert.include(idle.message, "idle.service is inactive (dead), and no job is pending")
      const unknown = yield* Effect.flip(web.waitForUnit("nope.service", { timeout: "2 minutes" }))
      assert.include(unknown.message, "is not known to systemd")
    })
  )

  it.effect("say at the deadline what state they were in", () =>
    Effect.gen(function* () {
      const web = yield* Web
      yield* unit(web, "endless.service", "Type=oneshot\nExecStart=/bin/sleep 600")
      yield* web.succeed("systemctl start --no-block endless.service")
      const error = yield* Effect.flip(web.waitForUnit("endless.service", { timeout: "3 seconds" }))
      assert.strictEqual(error._tag, "WaitTimeout")
      assert.include(error.message, "activating")
      yield* web.succeed("systemctl stop endless.service")
    })
  )

  it.effect("are started and stopped, and their port with them", () =>
    Effect.gen(function* () {
      const web = yield* Web
      yield* web.stopJob("nginx.service")
      yield* web.waitForClosedPort(80)
      const opening = yield* Effect.forkChild(web.waitForOpenPort(80, "192.168.1.1", { timeout: "1 minute" }))
      yield* web.startJob("nginx.service")
      yield* Fiber.join(opening)
    })
  )

  it.effect("shut the machine down in order", () =>
    Effect.gen(function* () {
      const web = yield* Web
      yield* web.shutdown()
      assert.isFalse(yield* web.isUp())
    })
  )
})
