/** The options of `vmtest run -i`. */
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as CommandLine from "../../src/cli/CommandLine.ts"
import * as SessionOptions from "../../src/cli/internal/sessionOptions.ts"

const refusal = (...words: ReadonlyArray<string>) =>
  Effect.map(CommandLine.parse(["run", "-i", "web.ts", ...words]), (invocation) => {
    assert(typeof invocation !== "number" && invocation._tag === "Run", words.join(" "))
    return SessionOptions.refusal(invocation)
  }).pipe(Effect.provide(NodeServices.layer))

describe("vmtest run -i", () => {
  it.effect("takes the options that choose the test and its machines, and how they run", () =>
    Effect.gen(function* () {
      assert.isUndefined(yield* refusal())
      const machines = ["--no-snapshot", "-o", "out", "--backend", "qemu", "--accel", "tcg", "--keep-state"]
      const others = [
        "-t",
        "one",
        "--verbose",
        "--console",
        "on",
        "--seed",
        "1",
        "--log-level",
        "debug",
        "--update-references"
      ]
      assert.isUndefined(yield* refusal(...machines, ...others, "--machine-config", "m.json", "-c", "c.ts"))
      assert.isUndefined(yield* refusal("--no-fail-fast", "--no-capture"))
    })
  )

  it.effect("refuses those that a session has no use for, by their names", () =>
    Effect.gen(function* () {
      assert.strictEqual(
        yield* refusal("--retries", "1"),
        "--retries cannot be used with --interactive: it is for runs, and a session runs only the lines that you type"
      )
      assert.match(
        (yield* refusal("--html", "r.html", "--list")) ?? "",
        /^--list, --html cannot be used .*they are for runs/
      )
      for (const words of [
        ["-j", "2"],
        ["--workers", "2"],
        ["--repeat-each", "2"],
        ["--fail-fast"],
        ["--timeout", "1 minute"],
        ["--wait-timeout", "1 minute"],
        ["--global-timeout", "1 minute"],
        ["--watch"],
        ["--only-failed"],
        ["--shard", "1/2"],
        ["--durations", "d.json"],
        ["--forbid-only"],
        ["--list-json"],
        ["--snapshot-on-failure"],
        ["--capture"],
        ["--junit", "j.xml"],
        ["--json", "e.jsonl"],
        ["--pause-on-failure"],
        ["--pause-timeout", "1 hour"]
      ])
        assert.include((yield* refusal(...words)) ?? "", "cannot be used with --interactive", words.join(" "))
    })
  )
})
