import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import { afterAll } from "vitest"
import * as CommandLine from "../../src/nixos/CommandLine.ts"
import { needs } from "../needs.ts"

const folder = mkdtempSync(join(tmpdir(), "vmtest-driver-flags-"))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** What a command line asks for. */
const read = (args: ReadonlyArray<string>, env: Readonly<Record<string, string>> = {}): CommandLine.Invocation => {
  const result = CommandLine.read(args, env)
  if (Result.isFailure(result)) throw result.failure
  if (typeof result.success === "string") throw new Error(`got ${result.success}`)
  return result.success
}

/** What is wrong with a command line. */
const problem = (args: ReadonlyArray<string>, env: Readonly<Record<string, string>> = {}): string => {
  const result = CommandLine.read(args, env)
  return Result.isFailure(result) ? result.failure.message : `it was taken: ${JSON.stringify(result.success)}`
}

describe("the options since 2026", () => {
  it("have defaults", () => {
    assert.deepStrictEqual(read(["--config", "c.json"]), {
      source: { _tag: "Configuration", file: "c.json", script: undefined },
      keepState: false,
      interactive: false,
      debugHook: undefined,
      output: process.cwd(),
      junitXml: undefined,
      logFile: undefined,
      logLevel: "info",
      language: undefined,
      vsocks: undefined
    })
  })

  it("are taken in all their forms", () => {
    const all = read(
      [
        "-c",
        "c.json",
        "-KI",
        `-o${folder}`,
        "--junit-xml=out/junit.xml",
        "--log-level",
        "error",
        "--language=typescript"
      ],
      { LOGFILE: "/dev/null" }
    )
    assert.deepStrictEqual(all, {
      source: { _tag: "Configuration", file: "c.json", script: undefined },
      keepState: true,
      interactive: true,
      debugHook: undefined,
      output: folder,
      junitXml: join(folder, "out/junit.xml"),
      logFile: "/dev/null",
      logLevel: "error",
      language: "typescript",
      vsocks: undefined
    })
    assert.strictEqual(read(["-c", "c.json", "--keep-vm-state"]).keepState, true)
    assert.strictEqual(read(["-c=c.json"]).source._tag, "Configuration")
    assert.strictEqual(read(["-c", "c.json"], { logLevel: "WARNING" }).logLevel, "warning")
  })

  it("can be abbreviated where it is clear what is meant", () => {
    const short = read(["--conf", "c.json", "--debug-hook=/nix/store/x/bin/attach", "--junit", "j.xml", "--inter"])
    assert.strictEqual(short.debugHook, "/nix/store/x/bin/attach")
    assert.strictEqual(short.junitXml, join(process.cwd(), "j.xml"))
    assert.isTrue(short.interactive)
    assert.strictEqual(
      problem(["-c", "c.json", "--keep"]),
      'option "--keep" could be "--keep-machine-state" or "--keep-vm-state"; write it in full'
    )
    assert.strictEqual(
      problem(["--d", "x"]),
      'option "--d" could be "--debug-hook-attach" or "--dump-vsocks"; write it in full'
    )
  })

  it("take the last of --interactive and --no-interactive, as a wrapper writes the first", () => {
    assert.isFalse(read(["-c", "c.json", "--interactive", "--no-interactive"]).interactive)
    assert.isTrue(read(["-c", "c.json", "--no-int", "-I"]).interactive)
    assert.isTrue(read(["-c", "c.json", "--no-int", "-KI"]).interactive)
    assert.isFalse(read(["-c", "c.json", "-KI", "--no-int"]).interactive)
  })
})

describe("the options before 2026", () => {
  it("come from the command line", () => {
    const given = read([
      "script.py",
      "--start-scripts",
      "run-a-vm",
      "run-b-vm",
      "--vlans",
      "1",
      "2",
      "--global-timeout",
      "60"
    ])
    assert.deepStrictEqual(given.source, {
      _tag: "StartScripts",
      startScripts: ["run-a-vm", "run-b-vm"],
      names: undefined,
      containers: [],
      vlans: [1, 2],
      globalTimeout: 60,
      script: "script.py"
    })
    assert.strictEqual(read(["script.py", "--dump-vsocks=2"]).vsocks, 2)
  })

  it("that take the script are told", () => {
    const after = "put the script first, or after --test-script"
    const given = ["--start-scripts", "A"]
    assert.strictEqual(
      problem([...given, "--vlans", "1", "hi.py"]),
      `a VLAN must be a whole number, got "hi.py"; ${after}`
    )
    assert.strictEqual(
      problem([...given, "--global-timeout", "hi.py"]),
      `--global-timeout must be a whole number, got "hi.py"; ${after}`
    )
    assert.strictEqual(
      problem(["--dump-vsocks", "hi.ts", "hi.py"]),
      `--dump-vsocks must be a whole number, got "hi.ts"; ${after}`
    )
    assert.strictEqual(problem([...given, "B", "hi.py"]), `missing a script: --start-scripts took "hi.py"; ${after}`)
    const script = fileURLToPath(import.meta.url)
    assert.strictEqual(
      problem(["-c", "c.json", "--debug-hook-attach", script]),
      `--debug-hook-attach needs a command, got the script ${JSON.stringify(script)}; put the command before it`
    )
    assert.strictEqual(
      problem(["-c", "c.json", "--debug-hook-attach", "/etc/passwd"]),
      "--debug-hook-attach: /etc/passwd is not executable"
    )
  })

  it("name no report outside the output folder", () => {
    for (const file of ["/nonexist/a/j.xml", "../j.xml", "."]) {
      assert.strictEqual(
        problem(["-c", "c.json", "-o", "/tmp", "--junit-xml", file]),
        `--junit-xml must be a file below the output folder /tmp, got ${JSON.stringify(file)}`
      )
    }
    assert.strictEqual(read(["-c", "c.json", "-o", "/tmp", "--junit-xml", "/tmp/a/j.xml"]).junitXml, "/tmp/a/j.xml")
  })

  it("come from the environment, where the command line does not have them", () => {
    const env = { startScripts: "run-a-vm  run-b-vm", vlans: "1 2", globalTimeout: "60", testScript: "s" }
    const source = {
      _tag: "StartScripts",
      startScripts: ["run-a-vm", "run-b-vm"],
      names: undefined,
      containers: [],
      vlans: [1, 2],
      globalTimeout: 60
    } as const
    assert.deepStrictEqual(read([], env).source, { ...source, script: "s" })
    assert.deepStrictEqual(read(["--vlans", "3", "--", "other"], env).source, {
      ...source,
      vlans: [3],
      script: "other"
    })
    assert.deepStrictEqual(read(["--vlans"], env).source, { ...source, vlans: [], script: "s" })
  })

  it("come with names of their own, and with those of containers, in the last of those drivers", () => {
    const env = {
      vmStartScripts: "/x/start-a /x/start-b",
      vmNames: "a b",
      startScripts: "run-other-vm",
      testScript: "s"
    }
    const source = { _tag: "StartScripts", vlans: [], globalTimeout: undefined, script: "s" } as const
    assert.deepStrictEqual(read([], env).source, {
      ...source,
      ...{ startScripts: ["/x/start-a", "/x/start-b"], names: ["a", "b"], containers: [] }
    })
    assert.deepStrictEqual(
      read(["s", "--vm-start-scripts", "run-a-vm", "--container-start-scripts", "run-c-nspawn"]).source,
      { ...source, ...{ startScripts: ["run-a-vm"], names: undefined, containers: ["run-c-nspawn"] } }
    )
    assert.strictEqual(
      problem(["s", "--vm-names", "a", "b", "--vm-start-scripts", "run-a-vm"]),
      "--vm-names must be as many as --vm-start-scripts, got 2 and 1"
    )
  })

  it("are not looked for in the environment of a configuration", () => {
    const env = { startScripts: "run-a-vm", vlans: "x", testScript: "s" }
    assert.deepStrictEqual(read(["-c", "c.json"], env).source, {
      _tag: "Configuration",
      file: "c.json",
      script: undefined
    })
  })
})

describe("a wrong command line", () => {
  it("is refused with what is wrong", () => {
    assert.match(problem([]), /^missing --config FILE/)
    assert.strictEqual(problem(["--confg", "c"]), 'unknown option "--confg"; did you mean "--config"?')
    assert.strictEqual(problem(["-x"]), 'unknown option "-x"')
    assert.strictEqual(problem(["--config"]), "--config needs a value: FILE")
    assert.strictEqual(problem(["--config", "-K"]), "--config needs a value: FILE")
    assert.strictEqual(problem(["-c", "c", "--interactive=yes"]), '--interactive takes no value, got "yes"')
    assert.strictEqual(problem(["-c", "c", "a.py", "b.py"]), 'unexpected argument "b.py"')
    assert.strictEqual(
      problem(["-c", "c", "--log-level", "loud"]),
      '--log-level must be one of error, warning, info, debug, got "loud"'
    )
    assert.strictEqual(problem(["s", "--global-timeout", "1h"]), '--global-timeout must be a whole number, got "1h"')
    assert.strictEqual(problem(["s", "--vlans", "one"]), 'a VLAN must be a whole number, got "one"')
  })

  it("is refused where options contradict each other", () => {
    for (const [option, value, what] of [
      ["--start-scripts", "run-a-vm", "machines"],
      ["--vm-names", "a", "machines"],
      ["--container-names", "c", "containers"],
      ["--vlans", "1", "VLANs"],
      ["--global-timeout", "60", "global timeout"]
    ] as const)
      assert.strictEqual(
        problem(["-c", "c.json", option, value]),
        `${option} cannot be used with --config: the configuration has the ${what}`
      )
    assert.strictEqual(
      problem(["-c", "c.json", "a.py", "--test-script", "b.py"]),
      "--test-script cannot be used with SCRIPT: both name the script"
    )
  })

  it("is refused for an output folder that does not exist or is a file", () => {
    writeFileSync(join(folder, "file"), "")
    assert.strictEqual(
      problem(["-c", "c", "-o", join(folder, "no")]),
      `--output_directory: ${folder}/no does not exist`
    )
    assert.strictEqual(
      problem(["-c", "c", "-o", join(folder, "file")]),
      `--output_directory: ${folder}/file is not a folder`
    )
  })

  describe("for an output folder that cannot be written to", () => {
    needs(process.getuid?.() !== 0, "root can write to any folder")
    it("is refused", () => {
      chmodSync(folder, 0o500)
      assert.strictEqual(problem(["-c", "c", "-o", folder]), `--output_directory: ${folder} cannot be written to`)
    })
  })
})
