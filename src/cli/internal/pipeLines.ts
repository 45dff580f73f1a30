/** The lines of a prompt that nobody types: from a pipe, or a file. */
import * as Readline from "node:readline"
import { PassThrough } from "node:stream"
import * as Schema from "effect/Schema"

/** The piped input ended within a statement, which was not evaluated. */
export class UnfinishedStatement extends Schema.TaggedError<UnfinishedStatement>()("UnfinishedStatement", {
  /** Where it starts, from 1. */
  line: Schema.Int,
  text: Schema.String
}) {
  override get message() {
    return `the input ends within the statement that starts on line ${this.line}: ${this.text.trim()}`
  }
}

/** Commands of the REPL, which it does not evaluate. */
const ofNode = /^\s*\.(break|clear|editor|exit|help|load|save)\b/

/**
 * Passes on the lines of a pipe, each when the one before has been evaluated, because only then it is known whether a line starts a new statement
 * or continues one. `onEnd` is called after the last line, with a statement that was not finished, if there is one. `answers` says which commands
 * call `answered`, as lines do.
 */
export const lineByLine = (
  from: NodeJS.ReadableStream,
  answers: (command: string) => boolean,
  onEnd: (open: UnfinishedStatement | undefined) => void
) => {
  const input = new PassThrough()
  const lines = Readline.createInterface({ input: from, crlfDelay: Infinity })
  const waiting: Array<string> = []
  let idle = true
  let ended = false
  let last = { line: 0, text: "" }
  let open: UnfinishedStatement | undefined
  const isUnanswered = (line: string): boolean => {
    const command = /^\s*\.([^.\d]\S*)/.exec(line)?.[1]
    if (command === undefined || answers(command)) return false
    return ofNode.test(line) || open === undefined
  }
  const feed = () => {
    const line = waiting.shift()
    idle = line === undefined
    if (line !== undefined) {
      last = { line: last.line + 1, text: line }
      input.write(`${line}\n`)
      if (/^\s*\.(break|clear)\b/.test(line)) open = undefined
      if (isUnanswered(line)) setImmediate(feed)
    } else if (ended) onEnd(open)
  }
  lines.on("line", (line) => {
    waiting.push(line)
    if (idle) feed()
  })
  lines.on("close", () => {
    ended = true
    if (idle) feed()
  })
  const answered = (goesOn: boolean) => {
    open = goesOn ? (open ?? new UnfinishedStatement(last)) : undefined
    setImmediate(feed)
  }
  return { input, answered }
}
