/** Commands whose fibers are interrupted, and how soon nothing of them is left in the guest. */
import { randomBytes } from "node:crypto"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import { quote } from "../../src/host/Quote.ts"
import type { ShellService } from "../../src/transport/Shell.ts"

/** Commands that do not end by themselves. */
export const endless = {
  sleeps: "sleep 1000",
  ignoresTerm: "trap '' TERM; while :; do sleep 0.1; done",
  saysMuch: "cat /dev/zero"
}

/** How long each step may take on a host that is busy, over a console. */
const patience = "3 minutes"

/** Whether there are processes with a mark in the environment that they were started with; one that has ended has none any more. */
const any = (mark: string) => `grep -qs ${mark} /proc/[0-9]*/environ`

/** Says `there` when there are processes with the mark, and ends when there are none any more. */
const watch = (mark: string) => `
  until ${any(mark)}; do sleep 0.1; done
  echo there
  while ${any(mark)}; do sleep 0.02; done`

/**
 * Runs a command, interrupts it as soon as another command sees it, and waits until that one sees nothing of it any more. Gives
 * the seconds from the interruption until then. What is said meanwhile is thrown away.
 */
export const cancel = Effect.fnUntraced(function* (shell: ShellService, command: string) {
  const mark = `VMTEST_CANCELLED=${randomBytes(8).toString("hex")}`
  const [name = "", value = ""] = mark.split("=")
  // A program of its own: a shell's subshells have the environment that the shell was started with.
  const marked = shell.executeStream(`exec sh -c ${quote(command)}`, { env: { [name]: value }, timeout: "10 minutes" })
  const running = yield* Effect.forkChild(Stream.runDrain(marked), { startImmediately: true })
  let begun = 0
  let interrupting: Fiber.Fiber<void> | undefined
  yield* shell.executeStream(watch(mark), { timeout: patience }).pipe(
    Stream.runForEach((event) =>
      Effect.gen(function* () {
        if (event._tag !== "Stdout") return
        begun = performance.now()
        interrupting = yield* Effect.forkChild(Fiber.interrupt(running), { startImmediately: true })
      })
    )
  )
  const seconds = (performance.now() - begun) / 1000
  if (interrupting === undefined) throw new Error(`${command} was not interrupted: ${yield* Fiber.await(running)}`)
  yield* Effect.timeout(Fiber.join(interrupting), patience)
  return seconds
})

/** The longest of ten cancelled commands, every other of which ignores SIGTERM, in seconds. */
export const slowestOfTen = (shell: ShellService) =>
  Effect.map(
    Effect.forEach(Array.from({ length: 10 }), (_, i) =>
      cancel(shell, i % 2 === 0 ? endless.sleeps : endless.ignoresTerm)
    ),
    (seconds) => Math.max(...seconds)
  )
