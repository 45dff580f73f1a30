import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { afterAll, assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as DriverLayer from "../src/driver/DriverLayer.ts"
import * as Runner from "../src/driver/Runner.ts"
import { test } from "../src/driver/TestCase.ts"
import * as Image from "../src/images/Image.ts"
import type { Machine } from "../src/machine/Machine.ts"

/** RabbitMQ takes the host name into the name of its node, and looks for that node under this name. */
const options = { image: Image.debian({ packages: ["rabbitmq-server"] }), memory: "1 GiB" } as const

const timeout = "30 minutes"
const wait = { timeout: "10 minutes" } as const

/** Waits until the broker answers under its node's name, which the commands take from the host name of now. */
const answers = Effect.fnUntraced(function* (machine: Machine) {
  yield* machine.waitForUnit("rabbitmq-server.service", wait)
  assert.strictEqual(yield* machine.succeed("rabbitmqctl eval 'node().'", wait), `rabbit@${machine.name}\n`)
  yield* machine.succeed("rabbitmqctl add_vhost found && rabbitmqctl list_vhosts | grep found", wait)
})

const place = mkdtempSync(join(tmpdir(), "vmtest-rabbitmq-"))
afterAll(() => rmSync(place, { recursive: true, force: true }))

/** Runs the tests one after the other with a snapshot store of their own; gives what became of each, and how its machine came to be. */
const outcomes = (store: string, tests: Parameters<typeof Runner.run>[0]) =>
  Runner.run(tests, { output: join(place, "output"), snapshots: { folder: join(place, store) } }).pipe(
    Effect.map((results) =>
      results.map(({ failure, machines, status }) => [status, failure?.message, machines[0]?.came])
    ),
    Effect.provide(DriverLayer.host),
    Effect.provide(NodeServices.layer)
  )

describe("RabbitMQ on a machine named broker", { timeout: 3_600_000 }, () => {
  it.live("is the node rabbit@broker, booted and forked", () =>
    Effect.gen(function* () {
      const broker = { ...options }
      const declared = (name: string) =>
        test(name, { machines: { broker }, timeout }, (machines) => answers(machines.broker))
      const [booted, forked] = yield* outcomes("own", [declared("boots"), declared("is forked")])
      assert.deepStrictEqual(booted, ["passed", undefined, "booted"])
      assert.deepStrictEqual(forked?.slice(0, 2), ["passed", undefined])
      assert.match(forked?.[2] ?? "", /^forked from .*broker/)
    })
  )

  it.live("is so after a restart where a test has it share the snapshot of a machine of another name", () =>
    Effect.gen(function* () {
      const shared = { ...options, snapshot: "shared" } as const
      const [other, forked] = yield* outcomes("shared", [
        test("boots as machine", { machines: { machine: shared }, timeout }, ({ machine }) => answers(machine)),
        test("is forked as broker", { machines: { broker: shared }, timeout }, ({ broker }) =>
          Effect.andThen(broker.succeed("systemctl restart rabbitmq-server", wait), answers(broker))
        )
      ])
      assert.deepStrictEqual(other, ["passed", undefined, "booted"])
      assert.deepStrictEqual(forked?.slice(0, 2), ["passed", undefined])
      // A shared snapshot is called by its image alone.
      assert.match(forked?.[2] ?? "", /^forked from snapshot \w+ of debian with rabbitmq-server/)
    })
  )
})
