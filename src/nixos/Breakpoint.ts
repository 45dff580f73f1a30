/**
 * Where a test in TypeScript fails, with `--debug-hook-attach`: a prompt with its machines at a port, before they end.
 *
 * **Example** (A test that waits at its failure)
 *
 * ```ts
 * const stopped = Breakpoint.atFailure(test("greets", {}, () => Effect.void), "/nix/store/attach/bin/attach")
 * ```
 *
 * @since 0.1.0
 */
import * as Net from "node:net"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import type { DriverService } from "../driver/Driver.ts"
import * as Failure from "../driver/Failure.ts"
import type { TestCase } from "../driver/TestCase.ts"
import * as HostProcess from "../host/HostProcess.ts"
import * as Thrown from "../host/Thrown.ts"
import * as MachinePrompt from "./MachinePrompt.ts"

/** Where breakpoints listen, as there. */
const host = "127.0.0.1"
const port = 4444

/** The first client that connects, until the scope closes. */
const connection = (driver: DriverService) =>
  Effect.gen(function* () {
    const sockets: Array<Net.Socket> = []
    const server = yield* Effect.acquireRelease(
      Effect.sync(() => Net.createServer()),
      (opened) =>
        Effect.sync(() => {
          opened.close()
          for (const socket of sockets) socket.destroy()
        })
    )
    const first = Deferred.makeUnsafe<Net.Socket>()
    // Before it listens: a client that nobody is there for would be lost.
    server.on("connection", (socket) => {
      sockets.push(socket)
      // Of a client that has gone.
      socket.on("error", () => socket.destroy())
      if (!Deferred.doneUnsafe(first, Effect.succeed(socket))) socket.end("another client is at the prompt\n")
    })
    const listening = (at: number) =>
      Effect.callback<number, Error>((resume) => {
        const failed = (error: Error) => resume(Effect.fail(error))
        server.once("error", failed)
        server.listen(at, host, () => {
          server.off("error", failed)
          const address = server.address()
          resume(Effect.succeed(typeof address === "object" && address !== null ? address.port : at))
        })
      })
    // Another run may be stopped there.
    const found = yield* Effect.catch(listening(port), () => listening(0))
    yield* driver.log(`the prompt listens on ${host}:${found}`)
    return yield* Deferred.await(first)
  })

const stop = Effect.fnUntraced(function* (attach: string, cause: Cause.Cause<unknown>, driver: DriverService) {
  const pattern = yield* Random.nextIntBetween(1_000_000, 10_000_000)
  yield* driver.log(Failure.headline(Failure.fromCause(cause)))
  yield* driver.log(`!!! Breakpoint reached, run 'sudo ${attach} ${pattern}'`)
  // The attaching command looks for a process of this name, without a path, to find the sandbox that it is in and a shell there.
  const bashInteractive = yield* Effect.orElseSucceed(HostProcess.locate("bash"), () => "/bin/sh")
  yield* HostProcess.spawn({ command: "sh", args: ["-c", `exec sleep ${pattern}`], env: { bashInteractive }, grace: 0 })
  const socket = yield* connection(driver)
  yield* MachinePrompt.open({ driver, connection: socket, history: "/dev/null" })
}, Effect.scoped)

/** The test with a prompt where it fails; it fails when the prompt is left. */
export const atFailure = (test: TestCase, attach: string): TestCase => ({
  ...test,
  body: (machines, driver) =>
    test
      .body(machines, driver)
      .pipe(
        Effect.tapCause((cause) =>
          Cause.hasInterruptsOnly(cause)
            ? Effect.void
            : stop(attach, cause, driver).pipe(
                Effect.catch((error) => driver.log(`could not open the prompt: ${Thrown.messageOf(error)}`))
              )
        )
      )
})
