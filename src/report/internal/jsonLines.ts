/** Records as JSON lines. */
import type { RunRecord } from "../RunRecord.ts"

/** How many characters may wait to be written, and for how many milliseconds, while records come. */
const mostWaiting = 64 * 1024
const longest = 250

/** Takes records, and writes their lines in pieces: a reader that follows the file sees what happened soon, and a test waits for few writes. */
export const make = (write: (text: string) => void) => {
  let waiting = ""
  let since = 0
  const flush = () => {
    if (waiting === "") return
    const text = waiting
    waiting = ""
    write(text)
  }
  return {
    hear: (record: RunRecord): void => {
      if (waiting === "") since = record.at
      waiting += `${JSON.stringify(record)}\n`
      const isEnd = record.type === "test-ended" || record.type === "run-ended"
      if (isEnd || waiting.length > mostWaiting || record.at - since >= longest) flush()
    },
    end: flush
  }
}
