import { connect } from "node:net"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { Driver } from "../../src/driver/Driver.ts"
import { test } from "../../src/driver/TestCase.ts"
import * as Breakpoint from "../../src/nixos/Breakpoint.ts"
import { driverOf } from "../driver/support.ts"

/** Says lines to a port, and gives what is said there. */
const talk = (port: number, lines: string, connected: () => void) =>
  new Promise<string>((resolve, reject) => {
    let said = ""
    const socket = connect(port, "127.0.0.1", () => {
      socket.write(lines)
      connected()
    })
    socket.on("data", (chunk) => {
      said += chunk.toString()
    })
    socket.on("error", reject)
    socket.on("close", () => resolve(said))
  })

describe("a breakpoint", () => {
  it.live("hears a client that connects as soon as it listens, and sends a second one away", () =>
    Effect.gen(function* () {
      const { service } = yield* driverOf({})
      const talks: Array<Promise<string>> = []
      // The line with the port is not printed before both have connected.
      const log = (line: string) =>
        Effect.promise(async () => {
          const port = /the prompt listens on 127\.0\.0\.1:(\d+)/.exec(line)?.[1]
          if (port === undefined) return
          for (const lines of ["20 + 3\n.exit\n", ""]) {
            await new Promise<void>((resolve) => talks.push(talk(Number(port), lines, resolve)))
          }
        })
      const failing = test("fails", {}, () => Effect.fail(new Error("as it must")))
      const stopped = Breakpoint.atFailure(failing, "/bin/attach")
      const driver = { ...service, log }
      const error = yield* Effect.flip(Effect.provideService(stopped.body({}, driver), Driver, driver))
      assert.instanceOf(error, Error)
      const [first = "", second] = yield* Effect.promise(() => Promise.all(talks))
      assert.match(first, /vmtest> 23\n/)
      assert.strictEqual(second, "another client is at the prompt\n")
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))
  )
})
