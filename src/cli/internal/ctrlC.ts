/** Ctrl-C at Node's REPL on a terminal: it interrupts the line that runs, and otherwise drops the one that is typed. */
import type * as Repl from "node:repl"

/**
 * Takes the listeners of SIGINT away, and gives what puts them back. While Node evaluates a line, a handler of its own interrupts a loop: listeners
 * keep that from working, and do not hear of any SIGINT after it unless they are added again.
 */
const withoutListeners = (): (() => void) => {
  const listeners = process.rawListeners("SIGINT").splice(0)
  for (const listener of listeners) process.off("SIGINT", listener as NodeJS.SignalsListener)
  return () => {
    for (const listener of listeners.splice(0)) process.on("SIGINT", listener as NodeJS.SignalsListener)
  }
}

/** How lines are evaluated so that Ctrl-C interrupts them. */
export interface CtrlC {
  /** Evaluates a line, which calls `answered` once Node has its value. */
  readonly evaluate: (line: (answered: () => void) => void) => void
}

/** `interruptEffect` interrupts the Effect that a line runs; false if there is none. */
export const make = (server: Repl.REPLServer, interruptEffect: () => boolean): CtrlC => {
  // They interrupt the wait for a promise, and drop the line that is typed; at the second Ctrl-C in an empty line they would leave.
  const ofNode = server.rawListeners("SIGINT")
  const first = server.getPrompt()
  let evaluating = false
  let awaiting = false
  let early = false
  const isEmpty = () => server.line === "" && server.getPrompt() === first
  server.removeAllListeners("SIGINT")
  server.on("SIGINT", () => {
    if (evaluating) early = true
    else if (interruptEffect()) return
    else if (awaiting || !isEmpty()) for (const listener of ofNode) listener.call(server)
    else {
      server.output.write("\n(.exit or Ctrl-D leaves)\n")
      server.displayPrompt()
    }
  })
  return {
    evaluate: (line) => {
      const restore = withoutListeners()
      let hasAnswer = false
      evaluating = true
      awaiting = true
      early = false
      line(() => {
        restore()
        hasAnswer = true
        awaiting = false
      })
      restore()
      evaluating = false
      // It came before the line waits for its Effect or promise, and means that.
      if (!early) return
      if (hasAnswer) interruptEffect()
      else server.emit("SIGINT")
    }
  }
}

/** Where there is no terminal, Ctrl-C does not come to the REPL. */
export const none: CtrlC = { evaluate: (line) => line(() => undefined) }
