import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as TestConsole from "effect/testing/TestConsole"
import * as CommandLine from "../../src/cli/CommandLine.ts"
import { contradiction } from "../../src/cli/Run.ts"
import * as OwnFiles from "../../src/host/OwnFiles.ts"

const parse = (...args: Array<string>) =>
  Effect.gen(function* () {
    const parsed = yield* CommandLine.parse(args)
    return { parsed, out: (yield* TestConsole.logLines).join("\n"), err: (yield* TestConsole.errorLines).join("\n") }
  }).pipe(Effect.provide(NodeServices.layer))

const plain = {
  ...{ keepState: false, output: undefined, verbose: false, console: undefined, quiet: false, snapshot: true },
  backend: undefined
}

/** What `vmtest run` is asked for where the command line says nothing. */
const unsaid = {
  config: undefined,
  jobs: undefined,
  names: [],
  onlyFailed: false,
  shard: undefined,
  durations: undefined,
  repeatEach: undefined,
  forbidOnly: undefined,
  list: false,
  listJson: false,
  retries: undefined,
  failFast: undefined,
  timeout: undefined,
  waitTimeout: undefined,
  globalTimeout: undefined,
  seed: undefined,
  watch: false,
  workers: undefined,
  snapshotOnFailure: undefined,
  capture: undefined,
  updateReferences: false,
  logLevel: undefined,
  junit: undefined,
  json: undefined,
  html: undefined,
  machines: undefined,
  machineConfig: undefined,
  accel: undefined,
  interactive: false,
  pauseOnFailure: false,
  pauseTimeout: undefined,
  options: {
    ...{ keepState: undefined, output: undefined, verbose: undefined, console: undefined, quiet: undefined },
    ...{ snapshot: undefined, backend: undefined }
  }
}

describe("the command line", () => {
  it.effect("run takes scripts and options", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual<unknown>((yield* parse("run", "a.ts", "b.ts")).parsed, {
        _tag: "Run",
        scripts: ["a.ts", "b.ts"],
        ...unsaid
      })
      const all = [
        "-j",
        "3",
        "-t",
        "x",
        "-t",
        "y",
        "--timeout",
        "2 minutes",
        "--wait-timeout",
        "30 seconds",
        "--keep-state",
        "--snapshot-on-failure",
        "--capture",
        "--update-references",
        "--interactive",
        "--pause-on-failure",
        "--pause-timeout",
        "1 hour",
        "--no-snapshot",
        "--verbose",
        "--console",
        "off",
        "--junit",
        "j.xml",
        "--json",
        "e.jsonl",
        "--html",
        "r.html",
        "-q",
        "-o",
        "out",
        "-c",
        "other.config.ts",
        "--only-failed",
        "--shard",
        "2/3",
        "--durations",
        "durations.json",
        "--repeat-each",
        "2",
        "--no-forbid-only",
        "--list",
        "--list-json",
        "--retries",
        "0",
        "--fail-fast",
        "--global-timeout",
        "1 hour",
        "--seed",
        "7",
        "--watch",
        "--log-level",
        "debug",
        "--accel",
        "tcg",
        "--workers",
        "3",
        "a.ts"
      ]
      assert.deepStrictEqual<unknown>((yield* parse("run", ...all)).parsed, {
        _tag: "Run",
        scripts: ["a.ts"],
        config: "other.config.ts",
        jobs: 3,
        names: ["x", "y"],
        onlyFailed: true,
        shard: { index: 2, of: 3 },
        durations: "durations.json",
        repeatEach: 2,
        forbidOnly: false,
        list: true,
        listJson: true,
        retries: 0,
        failFast: true,
        timeout: 120_000,
        waitTimeout: 30_000,
        globalTimeout: 3_600_000,
        seed: 7,
        watch: true,
        workers: 3,
        snapshotOnFailure: true,
        capture: true,
        updateReferences: true,
        logLevel: "debug",
        junit: "j.xml",
        json: "e.jsonl",
        html: "r.html",
        machines: undefined,
        machineConfig: undefined,
        accel: "tcg",
        interactive: true,
        pauseOnFailure: true,
        pauseTimeout: 3_600_000,
        options: {
          ...{ keepState: true, output: "out", verbose: true, console: false, quiet: true, snapshot: false },
          backend: undefined
        }
      })
    })
  )

  it.effect("values can follow single letters without a space, as in other tools", () =>
    Effect.gen(function* () {
      const apart = yield* parse("run", "a.ts", "-j", "4", "-t", "x y", "-o", "out")
      const together = yield* parse("run", "a.ts", "-j4", "-tx y", "-o=out")
      assert.deepStrictEqual(together.parsed, apart.parsed)
      const alike = yield* parse("run", "a.ts", "-ttimeout", "-timage", "-ooutput")
      assert.deepInclude(alike.parsed, {
        names: ["timeout", "image"],
        options: { ...unsaid.options, output: "output" }
      })
      const { parsed } = yield* parse("eval", "--", "-j4")
      assert.include(parsed, { _tag: "Eval", expression: "-j4" })
    })
  )

  it.effect("eval and eval-file take one program", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual<unknown>((yield* parse("eval", "1 + 1")).parsed, {
        _tag: "Eval",
        expression: "1 + 1",
        options: plain
      })
      assert.deepStrictEqual<unknown>((yield* parse("eval-file", "p.ts")).parsed, {
        _tag: "EvalFile",
        file: "p.ts",
        options: plain
      })
    })
  )

  it.effect("repl, attach and top take what they are about", () =>
    Effect.gen(function* () {
      const { accel, config, machineConfig, machines: module, names, options } = unsaid
      const machines = { accel, config, machineConfig, machines: module, names, options }
      const parsed = function* (...args: ReadonlyArray<string>) {
        return (yield* parse(...args)).parsed
      }
      assert.deepStrictEqual<unknown>(yield* parsed("repl"), { _tag: "Repl", script: undefined, ...machines })
      assert.deepStrictEqual<unknown>(yield* parsed("repl", "a.ts"), { _tag: "Repl", script: "a.ts", ...machines })
      assert.deepStrictEqual<unknown>(yield* parsed("attach"), { _tag: "Attach", run: undefined, test: undefined })
      assert.deepStrictEqual<unknown>(yield* parsed("attach", "3f2a91c0", "--test", "a"), {
        ...{ _tag: "Attach", run: "3f2a91c0", test: "a" }
      })
      assert.deepStrictEqual<unknown>(yield* parsed("top", "--json"), { _tag: "Top", json: true, once: false })
      assert.include((yield* parse("run", "-iq", "a.ts")).parsed, { interactive: true })
    })
  )

  it.effect("resume and snapshot take a folder, ages and sizes", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual<unknown>((yield* parse("resume", "out/a test")).parsed, {
        _tag: "Resume",
        folder: "out/a test",
        options: plain
      })
      assert.deepStrictEqual<unknown>((yield* parse("snapshot", "list", "--json")).parsed, {
        _tag: "SnapshotList",
        json: true
      })
      assert.deepStrictEqual<unknown>((yield* parse("snapshot", "prune", "--max-size", "2 GiB")).parsed, {
        _tag: "SnapshotPrune",
        all: false,
        olderThan: undefined,
        maxSize: 2 * 1024 ** 3
      })
    })
  )

  it.effect("image prune reads ages and sizes", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual<unknown>(
        (yield* parse("image", "prune", "--older-than", "3 days", "--max-size", "1.5 GiB")).parsed,
        { _tag: "ImagePrune", all: false, olderThan: 259_200_000, maxSize: 1.5 * 2 ** 30 }
      )
    })
  )

  for (const args of [[], ["run"], ["eval"], ["eval-file"], ["doctor"], ["image"], ["image", "build"]]) {
    it.effect(`vmtest ${[...args, "--help"].join(" ")} is help on stdout and exit code 0`, () =>
      Effect.gen(function* () {
        const { err, out, parsed } = yield* parse(...args, "--help")
        assert.strictEqual(parsed, 0)
        assert.include(out, `vmtest ${args.join(" ")}`.trim())
        assert.strictEqual(err, "")
      })
    )
  }

  it.effect("--version is the package's", () =>
    Effect.gen(function* () {
      const { out, parsed } = yield* parse("--version")
      assert.strictEqual(parsed, 0)
      assert.strictEqual(out, `vmtest v${OwnFiles.version}`)
    })
  )

  for (const [wrong, says] of [
    [["rnu", "a.ts"], 'unknown command "rnu"; did you mean "run"?'],
    [["run", "a.ts", "--shard", "0/3"], '--shard must be a part and the number of parts, such as 1/3, got "0/3"'],
    [["run", "a.ts", "--shard", "4/3"], "such as 1/3"],
    [["run", "a.ts", "--shard", "-1/3"], "vmtest: --shard needs a value: I/N\nFor more"],
    [["run", "a.ts", "--grep", ""], "--grep needs a value: a text"],
    [
      ["run", "a.ts", "--backend", "qemuu"],
      '--backend must be "qemu", "firecracker" or "cloud-hypervisor", got "qemuu"'
    ],
    [["run", "a.ts", "--retries", "-1"], "--retries"],
    [["run", "a.ts", "--repeat-each", "0"], '--repeat-each must be a whole number of at least 1, got "0"'],
    [["run", "a.ts", "--seed", "x"], "--seed must be a whole number of at least 0"],
    [["run", "a.ts", "--log-level", "loud"], "--log-level must be one of all, trace, debug"],
    [["run", "a.ts", "--accel", "hvf"], '--accel must be auto, kvm or tcg, got "hvf"'],
    [["run", "a.ts", "--global-timeout", "soon"], "--global-timeout must be a duration"],
    [["run", "a.ts", "--worker", "2"], 'unknown option "--worker"; did you mean "--workers"?'],
    [["run", "a.ts", "--workers", "0"], "a whole number of at least 1"],
    [["fleet", "attach"], "RUN"],
    [["fleet", "worker", "--memory", "much"], "a size such as"],
    [["run", "a.ts", "--last-failed"], 'did you mean "--only-failed"?'],
    [["run", "a.ts", "--failfast"], 'did you mean "--fail-fast"?'],
    [["run", "a.ts", "--shrad", "1/2"], 'did you mean "--shard"?'],
    [["run", "a.ts", "--rtries", "1"], 'did you mean "--retries"?'],
    [["run", "a.ts", "--bogus"], 'unknown option "--bogus"\n'],
    [["run", "a.ts", "--jbos", "2"], 'unknown option "--jbos"; did you mean "--jobs"?'],
    [["run", "a.ts", "--update-refs"], 'did you mean "--update-references"?'],
    [["run", "a.ts", "--tim", "2 minutes"], 'did you mean "--timeout"?'],
    [["run", "a.ts", "-k"], 'unknown option "-k"; did you mean "--keep-state"?'],
    [["run", "a.ts", "-z"], 'unknown option "-z"\n'],
    [["run", "-timeout", "5m", "a.ts"], 'vmtest: unknown option "-timeout"; did you mean "--timeout"?\nFor more'],
    [["run", "-output", "out", "a.ts"], 'vmtest: unknown option "-output"; did you mean "--output"?\nFor more'],
    [["run", "-output=out", "a.ts"], 'unknown option "-output"; did you mean "--output"?'],
    [["run", "-otuput", "out", "a.ts"], 'unknown option "-otuput"; did you mean "--output"?'],
    [["run", "-out", "a.ts"], 'unknown option "-out"; did you mean "--output"?'],
    [["run", "-jobs", "4", "a.ts"], 'vmtest: unknown option "-jobs"; did you mean "--jobs"?\nFor more'],
    [["run", "-test-name", "x", "a.ts"], 'unknown option "-test-name"; did you mean "--grep"?'],
    [["run", "--test-name", "x", "a.ts"], 'unknown option "--test-name"; did you mean "--grep"?'],
    [["run", "-verbose", "a.ts"], 'vmtest: unknown option "-verbose"; did you mean "--verbose"?\nFor more'],
    [["run", "--machine-conf", "m.json", "a.py"], 'did you mean "--machine-config"?'],
    [["run", "a.py", "--machine-config"], "--machine-config needs a value"],
    [["run", "-machines", "m.ts", "a.py"], 'unknown option "-machines"; did you mean "--machines"?'],
    [["snapshot", "list", "-json"], 'vmtest: unknown option "-json"; did you mean "--json"?\nFor more'],
    [["image", "prune", "-older-than", "3 days"], 'unknown option "-older-than"; did you mean "--older-than"?'],
    [["run", "a.ts", "--jobs", "0"], '--jobs must be a whole number of at least 1, or "auto", got "0"'],
    [["run", "a.ts", "--jobs", "many"], '--jobs must be a whole number of at least 1, or "auto", got "many"'],
    [["run", "a.ts", "--jobs"], "--jobs needs a value: N"],
    [["run", "a.ts", "--output="], "--output needs a value: a folder"],
    [["run", "a.ts", "-j", "1", "-j", "2"], "--jobs can be given only once"],
    [["run", "a.ts", "--timeout", "soon"], '--timeout must be a duration such as "90 seconds"'],
    [["eval"], "missing argument EXPRESSION"],
    [["eval", "1", "2"], 'unexpected argument "2"'],
    [["image", "prune", "--max-size", "big"], '--max-size must be a size such as "512 MiB"']
  ] as const) {
    it.effect(`vmtest ${wrong.join(" ")} is wrong usage: exit code 2, and says why on stderr only`, () =>
      Effect.gen(function* () {
        const { err, out, parsed } = yield* parse(...wrong)
        assert.strictEqual(parsed, 2)
        assert.include(err, says)
        assert.include(err, "--help")
        assert.strictEqual(out, "")
      })
    )
  }

  it.effect("no subcommand is wrong usage too", () =>
    Effect.gen(function* () {
      assert.strictEqual((yield* parse()).parsed, 2)
    })
  )

  it.effect("options that do not go together are refused", () =>
    Effect.gen(function* () {
      for (const [args, says] of [
        [["--workers", "2", "--jobs", "3"], "--jobs cannot be used with --workers"],
        [["--workers", "2", "--pause-on-failure"], "--pause-on-failure cannot be used with --workers"],
        [["--watch", "--list"], "--watch cannot be used with --list"],
        [["--pause-timeout", "1 hour"], "--pause-timeout needs --pause-on-failure"],
        [["--workers", "2"], ""]
      ] as const) {
        const { parsed } = yield* parse("run", "a.ts", ...args)
        assert.isTrue(typeof parsed === "object" && parsed._tag === "Run")
        if (typeof parsed === "object" && parsed._tag === "Run") assert.include(contradiction(parsed) ?? "", says)
      }
    })
  )
})
