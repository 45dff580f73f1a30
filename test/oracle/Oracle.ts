/**
 * The judge: real Erlang/OTP, kept running, one line in and one line out.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"

/** Whether this machine has Erlang. */
export const isInstalled = (): boolean => spawnSync("escript", ["-h"], { stdio: "ignore" }).error === undefined

export class Oracle {
  private readonly process: ChildProcess
  private readonly waiting: Array<(line: string) => void> = []

  constructor(script = "oracle.erl") {
    this.process = spawn("escript", [fileURLToPath(new URL(script, import.meta.url))], {
      stdio: ["pipe", "pipe", "inherit"]
    })
    if (this.process.stdout !== null) {
      createInterface({ input: this.process.stdout }).on("line", (line) => this.waiting.shift()?.(line))
    }
    this.process.on("exit", () => {
      for (const answer of this.waiting.splice(0)) answer("the oracle is gone")
    })
  }

  /** Runs a scenario; the answer is the line of its trace. Lines may be in flight at the same time. */
  run(scenario: unknown): Promise<string> {
    return new Promise((resolve) => {
      this.waiting.push(resolve)
      this.process.stdin?.write(`${JSON.stringify(scenario)}\n`)
    })
  }

  close(): void {
    this.process.stdin?.end()
  }
}
