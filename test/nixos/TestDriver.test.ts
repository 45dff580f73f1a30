/** The command without machines: what it reads, writes and ends with. */

import { spawnSync } from "node:child_process"
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync
} from "node:fs"
import { connect, createServer } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { fileURLToPath } from "node:url"
import { assert, describe, it } from "@effect/vitest"
import { onTestFinished, vi } from "vitest"
import { needs } from "../needs.ts"
import { place } from "./support.ts"

// Each starts a process or several, on a busy host.
vi.setConfig({ testTimeout: 120_000 })

const { configured, nothingLeft, path, read, run, runFolders, start, startOnTerminal, write } = place()

/** A port that nothing listens on. */
const freePort = () =>
  new Promise<number>((resolve) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const address = server.address()
      server.close(() => resolve(typeof address === "object" && address !== null ? address.port : 0))
    })
  })

/** Says lines to a port, and gives all that is said there until it is closed. */
const talk = (port: number, lines: ReadonlyArray<string>) =>
  new Promise<string>((resolve, reject) => {
    let said = ""
    const socket = connect(port, "127.0.0.1", () => socket.write(lines.map((line) => `${line}\n`).join("")))
    socket.on("data", (chunk) => {
      said += chunk.toString()
    })
    socket.on("error", reject)
    socket.on("close", () => resolve(said))
  })

const until = async (condition: () => boolean, limit = 10_000) => {
  const deadline = performance.now() + limit
  while (!condition()) {
    assert.isBelow(performance.now(), deadline)
    await sleep(20)
  }
}

/** The environment of a process that runs a command; undefined if there is none. */
const environmentOf = (command: string): string | undefined => {
  const read = (path: string) => {
    try {
      return readFileSync(path, "latin1")
    } catch {
      return undefined
    }
  }
  const pid = readdirSync("/proc").find((name) => /^\d+$/.test(name) && read(`/proc/${name}/cmdline`) === command)
  return pid === undefined ? undefined : read(`/proc/${pid}/environ`)
}

/** The shell that nixpkgs' attaching command runs in the sandbox: it reads the environment of the process that the number leads to. */
const assertShell = (environment: string | undefined) => {
  const shell = /(?:^|\0)bashInteractive=([^\0]*)/.exec(environment ?? "")?.[1]
  const { stdout } = spawnSync(shell ?? "no shell", ["-c", "echo $BASH_VERSION"], { encoding: "utf8" })
  assert.match(stdout ?? "", /^\d/, `bashInteractive is ${shell}`)
}

describe("exit codes", () => {
  it("are 0 for a script that passes, which has the names of the driver", () => {
    const script = `
assert machines == [] and driver.machines == []
assert [vlan.nr for vlan in driver.vlans] == [1, 4] and vlan4.nr == 4
assert driver.config.vlans == [1, 4] and driver.config.global_timeout == 60
assert str(driver.out_dir) == "${path("out")}", driver.out_dir
assert driver.vhost_vsock is None
assert vlan4.socket_dir.is_dir()
print("all is well")
`
    const { status, stderr, stdout } = run(configured({ script, vlans: [1, 4] }))
    assert.strictEqual(status, 0, stderr)
    assert.include(stderr, "all is well")
    assert.match(stdout, /1 passed, 0 failed/)
    assert.deepStrictEqual(runFolders(), [])
  })

  it("are 1 for a script that fails, at its own line", () => {
    const { status, stdout } = run(configured({ script: "x = 1\nassert x == 2, 'not two'\n" }))
    assert.strictEqual(status, 1)
    assert.match(stdout, /script:2:/)
    assert.include(stdout, "ScriptRaised: AssertionError: not two")
  })

  it("are 1 for one that is not Python, calls sys.exit, or needs a Python that is not there", () => {
    const wrong = run(configured({ script: "def f(:\n" }))
    assert.strictEqual(wrong.status, 1)
    assert.match(wrong.stdout, /script:1:\d+[\s\S]*PythonSyntaxError/)
    assert.strictEqual(run(configured({ script: "import sys\nsys.exit(3)\n" })).status, 1)
    assert.strictEqual(run(configured({ script: "import sys\nsys.exit(0)\n" })).status, 0)
    for (const tool of ["qemu-system-x86_64", "setpriv"]) symlinkSync(`/usr/bin/${tool}`, path("out", tool))
    const none = run(configured({ script: "pass\n" }), { env: { PATH: path("out") } })
    assert.strictEqual(none.status, 1)
    assert.include(`${none.stderr}${none.stdout}`, "python3 is not installed: apt-get install python3")
  })

  it("are 1 for a configuration that cannot be read, or a script that is not there: nothing is started", () => {
    const missing = run(["-c", path("none.json")])
    assert.strictEqual(missing.status, 1)
    assert.strictEqual(missing.stderr, `nixos-test-driver: ${path("none.json")}: does not exist\n`)
    const text = run(["-c", write("text.json", "vms: {}")])
    assert.strictEqual(text.status, 1)
    assert.match(text.stderr, /text\.json: is not JSON: /)
    const containers = { vms: {}, containers: { c: { start_script: "run-c-nspawn" } }, test_script: "s" }
    const nspawn = run(["-c", write("c.json", JSON.stringify(containers))])
    assert.strictEqual(nspawn.status, 1)
    assert.match(
      nspawn.stderr,
      /^nixos-test-driver: vmtest does not run containers \(c\)[\s\S]*the qemu backend does not support containers/
    )
    const script = run(["-c", write("s.json", JSON.stringify({ vms: {}, test_script: path("no.py") }))])
    assert.strictEqual(script.status, 1)
    assert.match(script.stdout, /ScriptUnreadable: .*no\.py: does not exist/)
  })

  it("are 1 for a start script that is not there", () => {
    const vms = { web: { start_script: path("run-web-vm") } }
    const { status, stderr, stdout } = run(configured({ script: "pass\n", vms }))
    assert.deepStrictEqual([status, stdout], [1, ""])
    assert.include(
      stderr,
      `nixos-test-driver: ${path("config.json")}: start_script of "web": no such file: ${path("run-web-vm")}\n`
    )
  })

  it("are 2 for a wrong command line", () => {
    const { status, stderr, stdout } = run(["--confg", "c.json"])
    assert.deepStrictEqual([status, stdout], [2, ""])
    assert.strictEqual(
      stderr,
      'nixos-test-driver: unknown option "--confg"; did you mean "--config"?\nFor more information, try \'nixos-test-driver --help\'.\n'
    )
  })

  it("are 130 for SIGINT, SIGTERM and SIGHUP, and nothing is left", async () => {
    const script =
      "import subprocess, time\nsubprocess.Popen(['sleep', '1000'], start_new_session=True)\nprint('begun')\ntime.sleep(1000)\n"
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
      const { child, ended, said, says } = start(configured({ script }))
      await says(/begun/)
      child.kill(signal)
      assert.strictEqual(await ended, 130, signal)
      assert.match(said(), /^nixos-test-driver: SIG\w+: cleaning up/m)
      await nothingLeft()
      assert.deepStrictEqual(runFolders(), [])
      assert.match(read("log.xml"), /<\/logfile>\n$/)
    }
  })

  it("are 130 at once for a second signal, and nothing is left", async () => {
    const script =
      "import time\ntry:\n  print('begun')\n  time.sleep(1000)\nfinally:\n  print('ending')\n  time.sleep(1000)\n"
    const { child, ended, said, says } = start(configured({ script }))
    await says(/begun/)
    child.kill("SIGTERM")
    await says(/cleaning up; send it again to stop at once/)
    child.kill("SIGINT")
    assert.strictEqual(await ended, 130)
    assert.notMatch(said(), /passed|failed/)
    await nothingLeft()
  })

  it("are 1 when the global timeout ends the script, and nothing is left", async () => {
    const script = "import time\ntry:\n  time.sleep(1000)\nfinally:\n  open('cleaned', 'w').close()\n"
    const { status, stdout } = run(configured({ script, global_timeout: 6 }))
    assert.strictEqual(status, 1)
    assert.match(stdout, /timed out after 6s/)
    assert.isTrue(existsSync(path("cleaned")))
    await nothingLeft()
  })
})

describe("a driver that is killed", () => {
  it("leaves nothing running", async () => {
    const { child, ended, says } = start(configured({ script: "import time\nprint('begun')\ntime.sleep(1000)\n" }))
    await says(/begun/)
    child.kill("SIGKILL")
    await ended
    await nothingLeft()
  })

  it("leaves no program of its script's in a session of its own, and its folder to the next run", async () => {
    const script = `import subprocess, time
for _ in range(3):
    subprocess.Popen(["sleep", "1000"], start_new_session=True)
print("begun")
time.sleep(1000)
`
    const { child, ended, says } = start(configured({ script }))
    await says(/begun/)
    child.kill("SIGKILL")
    await ended
    await nothingLeft()
    assert.lengthOf(runFolders(), 1)
    assert.strictEqual(run(configured({ script: "pass\n" })).status, 0)
    assert.deepStrictEqual(runFolders(), [])
  })

  it("tells that its interpreter was killed", async () => {
    const script = "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n"
    const { status, stdout } = run(configured({ script }))
    assert.strictEqual(status, 1)
    assert.include(stdout, "InterpreterDied: the Python interpreter ended before the script did, with signal SIGKILL")
  })
})

describe("what is printed and written", () => {
  const script = `
print("<first>")
with subtest("outer"):
    with subtest("inner & more"):
        log.info("within")
try:
    with subtest("handled"):
        raise Exception("oh no")
except Exception:
    pass
print("a colour \\x1b[31mred\\x1b[0m\\x07")
`

  it("is a log in XML", () => {
    assert.strictEqual(run(configured({ script })).status, 0)
    const times = read("log.xml").replaceAll(/in \d+\.\d\d seconds/g, "in T seconds")
    assert.strictEqual(
      times,
      `<?xml version="1.0" encoding="utf-8"?>
<logfile><nest><head>run the VM test script</head><line>&lt;first&gt;</line>` +
        `<nest><head>subtest: outer</head><nest><head>subtest: inner &amp; more</head><line>within</line>` +
        `<line>(finished: subtest: inner &amp; more, in T seconds)</line></nest><line>(finished: subtest: outer, in T seconds)</line></nest>` +
        `<nest><head>subtest: handled</head><line>Test "handled" failed with error: "ScriptRaised: Exception: oh no"</line>` +
        `<line>(finished: subtest: handled, in T seconds)</line></nest><line>a colour red</line>` +
        `<line>(finished: run the VM test script, in T seconds)</line></nest></logfile>\n`
    )
  })

  it("is a JUnit report below the output folder, of the form that it has there", () => {
    const failing = `${script}\nwith subtest("last"):\n    raise Exception("<the end>")\n`
    const { status } = run([...configured({ script: failing }), "--junit-xml", "reports/junit.xml"], {
      env: { name: "vm-test-run-nginx" }
    })
    assert.strictEqual(status, 1)
    const report = readFileSync(join(path("out"), "reports/junit.xml"), "utf8")
    assert.match(report, /<testsuite name="NixOS integration test" tests="5" failures="2" errors="0" /)
    assert.lengthOf(report.match(/<testsuite /g) ?? [], 1)
    const cases = [...report.matchAll(/<testcase name="([^"]*)" classname="nginx"[^>]*>(<failure)?(.*?)<\/testcase>/gs)]
    assert.deepStrictEqual(
      cases.map(([, name, failure]) => [name, failure !== undefined]),
      [
        ["main", true],
        ["outer", false],
        ["inner &amp; more", false],
        ["handled", false],
        ["last", true]
      ]
    )
    assert.match(report, /<failure type="ScriptRaised" message="Exception: &lt;the end&gt;">/)
    const said = Object.fromEntries(cases.map(([, name = "", , text = ""]) => [name, text]))
    assert.match(said.main ?? "", /<system-out>&lt;first&gt;\n[\s\S]*a colour red<\/system-out>/)
    assert.match(said["inner &amp; more"] ?? "", /<system-out>within<\/system-out>/)
  })

  it("is a JUnit report also of a test that was interrupted", async () => {
    const waiting = "import time\nwith subtest('waits'):\n    print('begun')\n    time.sleep(1000)\n"
    const { child, ended, says } = start([...configured({ script: waiting }), "--junit-xml", "junit.xml"])
    await says(/begun/)
    child.kill("SIGTERM")
    await ended
    const report = readFileSync(join(path("out"), "junit.xml"), "utf8")
    assert.match(report, /<testcase name="main" [^>]*><failure message="the test was interrupted">/)
    assert.match(report, /<testcase name="waits" [^>]*>.*<system-out>begun<\/system-out>/)
  })

  it("cannot be written: then nothing is started", () => {
    const log = run(configured({ script }), { env: { LOGFILE: path("none/log.xml") } })
    assert.strictEqual(log.status, 1)
    assert.match(log.stderr, /LOGFILE: could not write .*none\/log\.xml: ENOENT/)
    assert.notInclude(log.stderr, "first")
  })

  it("is less with --log-level error", () => {
    const { status, stderr, stdout } = run([...configured({ script }), "--log-level", "error"])
    assert.deepStrictEqual([status, stderr], [0, ""])
    assert.match(stdout, /^1 passed, 0 failed/)
  })
})

describe("the command line before 2026", () => {
  it("runs a script, with everything in the environment", () => {
    write(
      "old.py",
      "assert [vlan.nr for vlan in vlans] == [2] and driver.global_timeout == 30\nprint('old and well')\n"
    )
    const { status, stderr } = run(["-o", path("out")], {
      env: { testScript: path("old.py"), vlans: "2", startScripts: "", globalTimeout: "30" }
    })
    assert.strictEqual(status, 0, stderr)
    assert.include(stderr, "old and well")
  })
})

describe("a script in TypeScript", () => {
  it("exports several tests, which the global timeout ends together", () => {
    const script = `import { Effect } from "effect"
import { test } from "vmtest"
export default [
  test("one", {}, () => Effect.sleep("500 millis")),
  test("two", {}, () => Effect.never),
  test("three", {}, () => Effect.sleep("500 millis"))
]
`
    const args = configured({ script, global_timeout: 4 }, "script.ts")
    const { status, stdout } = run([...args, "--junit-xml", "junit.xml"])
    assert.strictEqual(status, 1)
    assert.match(stdout, /✔ one/)
    assert.match(stdout, /TestTimeout: the time limit of all tests together, 4s, was reached/)
    assert.match(stdout, /1 passed, 2 failed/)
    // The tests that the limit has ended are in the report.
    const report = readFileSync(path("out", "junit.xml"), "utf8")
    assert.lengthOf(report.match(/<failure type="TestTimeout" message="the time limit of all tests/g) ?? [], 2)
  })

  it("exports a function, and may have a name without an ending", () => {
    const script = `import { Effect } from "effect"
import type { Machine } from "vmtest"
export default (machines: Record<string, Machine>, driver: { log: (line: string) => Effect.Effect<void> }) =>
  driver.log(\`\${Object.keys(machines).length} machines\`)
`
    const { status, stderr } = run([...configured({ script }), "--language=typescript"])
    assert.strictEqual(status, 0, stderr)
    assert.include(stderr, "0 machines")
    assert.strictEqual(run(configured({ script }, "script.ts")).status, 0)
  })

  it("exports tests, which may have machines of their own, but not of the configuration's names", () => {
    const script = `import { Effect } from "effect"
import { Image, test } from "vmtest"
export default [
  test("one", {}, () => Effect.void),
  test("two", { machines: { web: { image: Image.tiny() } } }, () => Effect.void)
]
`
    const vms = { web: { start_script: "/bin/true" } }
    const { status, stderr } = run(configured({ script, vms }, "script.ts"))
    assert.strictEqual(status, 1)
    assert.match(stderr, /declares the machine "web", which is given already/)
  })

  it("is refused before a machine starts if it names one that is not there", () => {
    const started = path("started")
    const vms = { web: { start_script: write("run-web-vm", `#!/bin/sh\ntouch ${started}\n`, 0o755) } }
    const scripts = [
      { line: 1, script: "export default ({ wbe }) => wbe.start\n" },
      {
        line: 2,
        script:
          'import { Effect } from "effect"\nexport default (machines) => Effect.gen(function* () {\n  yield* machines.wbe.start\n})\n'
      }
    ]
    for (const { line, script } of scripts) {
      const { status, stderr } = run(configured({ script, vms }, "script.ts"))
      assert.strictEqual(status, 1)
      assert.include(
        stderr,
        `script.ts:${line}:1: test "script": the body asks for the machine "wbe"; its machines are web; did you mean "web"?\n  ${line} │ export default`
      )
      assert.isFalse(existsSync(started))
    }
  })

  it("fails at its own line, and is refused if it exports nothing to run", () => {
    const failing = `import { Effect } from "effect"
export default () =>
  Effect.gen(function* () {
    yield* Effect.fail(new Error("as it must"))
  })
`
    const { status, stdout } = run(configured({ script: failing }, "script.ts"))
    assert.strictEqual(status, 1)
    assert.match(stdout, /script\.ts:4:24[\s\S]*as it must/)
    const nothing = run(configured({ script: "export default 3\n" }, "script.ts"))
    assert.strictEqual(nothing.status, 1)
    assert.match(nothing.stderr, /the default export must be a test, an array of tests or an Effect, got a number/)
  })
})

describe("--interactive", () => {
  it("is a Python prompt with the names of the script", () => {
    const script =
      "print('the script', driver.global_timeout, driver.config.global_timeout)\nraise Exception('it fails')\n"
    const input = [
      "1 + 1",
      "machines",
      "undefined_name",
      "with subtest('bad'):",
      "    raise Exception('boo')",
      "",
      "test_script()",
      "print('still', 'here')"
    ]
    const { status, stderr, stdout } = run([...configured({ script }), "-I"], { input: `${input.join("\n")}\n` })
    assert.strictEqual(status, 0, stderr)
    assert.match(stdout, /^2\n\[\]\n[\s\S]*the script 60 60\n[\s\S]*still here\n/)
    assert.match(stderr, /NameError: name 'undefined_name' is not defined/)
    // The lines of the script, and none of vmtest's.
    assert.match(stderr, /File ".*script", line 2, in <module>/)
    assert.notInclude(stderr, "shim.py")
  })

  it("is a TypeScript prompt for a script in TypeScript", () => {
    const script = 'import { Effect } from "effect"\nexport default () => Effect.succeed("the script has run")\n'
    const input =
      "20 + 3\nyield* testScript\ntestScript()\nyield* testScript()\ntestScript\nnothing()\nObject.keys(machines)\n"
    const { status, stderr, stdout } = run([...configured({ script }, "script.ts"), "-I"], { input })
    assert.strictEqual(status, 0, stderr)
    assert.match(
      stdout,
      /23\n('the script has run'\n){4}Uncaught ReferenceError: nothing is not defined\n( {4}at REPL\d+:1:1\n)?\[\]\n/
    )
    assert.notMatch(stdout, /node:|Prompt\./)
  })

  it("ends with its input, and by a signal, and leaves nothing", async () => {
    const { child, ended, says } = start([...configured({ script: "pass\n" }), "-I"])
    child.stdin?.write("print('at the', 'prompt')\n")
    await says(/at the prompt/)
    child.kill("SIGTERM")
    assert.strictEqual(await ended, 130)
    await nothingLeft()
  })
})

describe("--interactive on a terminal", () => {
  needs(spawnSync("script", ["--version"]).status === 0, "script is not installed (Debian: bsdutils)")

  it("lets Ctrl-C interrupt the running line, and Ctrl-D leave; the lines are remembered", async () => {
    const { child, ended, says } = startOnTerminal([...configured({ script: "pass\n" }), "-I"])
    const type = (keys: string) => child.stdin?.write(keys)
    await says(/Ctrl-D leaves[\s\S]*>>> $/)
    type("import time; print('in', 'bed'); time.sleep(1000)\r")
    await says(/in bed/)
    type("\u0003")
    await says(/KeyboardInterrupt[\s\S]*>>> $/)
    type("print('still', 'here')\r")
    await says(/still here[\s\S]*>>> $/)
    type("\u0004")
    assert.strictEqual(await ended, 0)
    await nothingLeft()
    assert.include(read(".nixos-test-history"), "print('still', 'here')")
  })

  it("takes Ctrl-C at any moment of the prompt, however often", async () => {
    const { child, ended, said, says } = startOnTerminal([...configured({ script: "pass\n" }), "-I"])
    const type = (keys: string) => child.stdin?.write(keys)
    await says(/Ctrl-D leaves[\s\S]*>>> $/)
    type("\u0003")
    await says(/>>> (\^C)?\r\nKeyboardInterrupt\r\n>>> $/)
    type("half = 'a li")
    await says(/half = 'a li$/)
    type("\u0003")
    await says(/half = 'a li(\^C)?\r\nKeyboardInterrupt\r\n>>> $/)
    type("import time; print('in', 'bed'); time.sleep(1000)\r")
    await says(/in bed/)
    type("\u0003\u0003\u0003")
    await says(/in bed[\s\S]*KeyboardInterrupt[\s\S]*>>> $/)
    // The last of them can still come, and drop what is typed.
    while (!/still here/.test(said())) {
      type("print('still', 'here')\r")
      await sleep(500)
    }
    await says(/still here[\s\S]*>>> $/)
    type("\u0004")
    assert.strictEqual(await ended, 0)
    await nothingLeft()
  })

  it("ends at Ctrl-C before there is a prompt", async () => {
    const { stdout: python } = spawnSync("python3", ["-c", "import sys; print(sys.executable)"], { encoding: "utf8" })
    const started = path("started")
    write("python3", `#!/bin/sh\ntouch ${started}\nsleep 2\nexec ${python.trim()} "$@"\n`, 0o755)
    const env = { PATH: `${path(".")}:${process.env.PATH}` }
    const { child, ended, said } = startOnTerminal([...configured({ script: "pass\n" }), "-I"], env)
    await until(() => existsSync(started), 60_000)
    child.stdin?.write("\u0003")
    assert.strictEqual(await ended, 130)
    assert.match(said(), /^\^C\r\nnixos-test-driver: SIGINT: cleaning up.*\r\n$/)
    await nothingLeft()
    assert.deepStrictEqual(runFolders(), [])
  })

  it("interrupts what runs at the TypeScript prompt, and ends by a signal as ever", async () => {
    const script = 'import { Effect } from "effect"\nexport default () => Effect.void\n'
    const { child, ended, says } = startOnTerminal([...configured({ script }, "script.ts"), "-I"])
    const type = (keys: string) => child.stdin?.write(keys)
    await says(/\.exit leaves[\s\S]*vmtest> /)
    type("yield* Effect.andThen(Effect.sync(() => console.log('Effect', 1)), Effect.never)\r")
    await says(/Effect 1/)
    // The second must not count as the wish to leave.
    type("\u0003\u0003")
    await says(/Effect 1[\s\S]*interrupted[\s\S]*vmtest> /)
    type("console.log('loop', 1); for (;;);\r")
    await says(/loop 1/)
    type("\u0003")
    await says(/loop 1[\s\S]*interrupted by `SIGINT`[\s\S]*vmtest> /)
    type("console.log('promise', 1); await new Promise(() => {})\r")
    await says(/promise 1/)
    type("\u0003")
    await says(/promise 1[\s\S]*interrupted by `SIGINT`[\s\S]*vmtest> /)
    type("console.log('process', process.pid)\r")
    const [, pid] = await says(/process (\d+)\r[\s\S]*vmtest> /)
    process.kill(Number(pid), "SIGINT")
    assert.strictEqual(await ended, 130)
    await says(/nixos-test-driver: SIGINT: cleaning up/)
    await nothingLeft()
    assert.deepStrictEqual(runFolders(), [])
  })
})

describe("--debug-hook-attach", () => {
  it("stops at a breakpoint, and where the script fails", async () => {
    const port = await freePort()
    const script = `x = 41
debug.breakpoint(port=${port})
x += 1
print("x is", x)
def fails(y):
    raise Exception("deep")
fails(3)
`
    const { ended, said, says } = start([...configured({ script }), "--debug-hook=/bin/attach"])
    const [, pattern = ""] = await says(/Breakpoint reached, run 'sudo \/bin\/attach (\d{7})'/)
    await says(new RegExp(`the debugger listens on 127.0.0.1:${port}`))
    // What the command looks for.
    const sleeps = () => environmentOf(`sleep\0${pattern}\0`)
    assertShell(sleeps())
    const first = await talk(port, ["p x", "x = 99", "c"])
    assert.match(first, /script\(3\)<module>\(\)\n-> x \+= 1\n\(Pdb\) 41/)
    await says(/x is 100/)
    const [, other] = await says(/x is 100[\s\S]*the debugger listens on 127\.0\.0\.1:(\d+)/)
    assert.isUndefined(sleeps())
    const second = await talk(Number(other), ["p y", "up", "p x", "q"])
    assert.match(second, /script\(6\)fails\(\)[\s\S]*\(Pdb\) 3\n[\s\S]*\(Pdb\) 100/)
    assert.strictEqual(await ended, 1)
    assert.include(said(), "ScriptRaised: Exception: deep")
    await nothingLeft()
  })

  it("stops at the script's own line where something of vmtest's fails, without vmtest's frames", async () => {
    const port = await freePort()
    const script = `debug.breakpoint(port=${port})
def fails(y):
    web.succeed("true")
fails(3)
`
    const vms = { web: { start_script: "/bin/false" } }
    const { ended, says } = start([...configured({ script, vms }), "--debug-hook=/bin/attach"])
    await says(new RegExp(`the debugger listens on 127.0.0.1:${port}`))
    const first = await talk(port, ["w", "c"])
    assert.match(first, /script\(2\)<module>\(\)/)
    assert.notMatch(first, /shim\.py/)
    const [, other] = await says(/the debugger listens on [\s\S]*the debugger listens on 127\.0\.0\.1:(\d+)/)
    const second = await talk(Number(other), ["p y", "w", "q"])
    assert.match(second, /script\(3\)fails\(\)[\s\S]*\(Pdb\) 3\n/)
    assert.notMatch(second, /shim\.py/)
    assert.strictEqual(await ended, 1)
  })

  it("opens a prompt where a script in TypeScript fails", async () => {
    const script = 'import { Effect } from "effect"\nexport default () => Effect.fail(new Error("as it must"))\n'
    const { ended, said, says } = start([...configured({ script }, "script.ts"), "--debug-hook=/bin/attach"])
    const [, pattern = ""] = await says(/Breakpoint reached, run 'sudo \/bin\/attach (\d{7})'/)
    const [, port] = await says(/the prompt listens on 127\.0\.0\.1:(\d+)/)
    await until(() => environmentOf(`sleep\0${pattern}\0`) !== undefined)
    assertShell(environmentOf(`sleep\0${pattern}\0`))
    const talked = await talk(Number(port), ["20 + 3", "yield* Effect.succeed('an Effect')", ".exit"])
    assert.match(talked, /vmtest> 23\nvmtest> 'an Effect'/)
    assert.strictEqual(await ended, 1)
    assert.include(said(), "as it must")
    await nothingLeft()
  })

  it("is nothing without the option", () => {
    assert.strictEqual(run(configured({ script: "assert debug.breakpoint() is None\n" })).status, 0)
  })
})

describe("a signal", () => {
  it("leaves the summary, a report of what has passed, and what the script prints in finally", async () => {
    const script = `import time
with subtest("first"):
    pass
with subtest("second"):
    try:
        print("begun")
        time.sleep(100)
    finally:
        print("tidied", "up")
`
    const { child, ended, said, says } = start([...configured({ script }), "--junit-xml", "j.xml"])
    await says(/begun/)
    child.kill("SIGTERM")
    assert.strictEqual(await ended, 130)
    assert.match(said(), /tidied up/)
    assert.match(
      said(),
      /interrupted:\n {2}- script \([\d.]+ s\) {2}\S+\/script\n0 passed, 0 failed, 1 interrupted \([\d.]+ s\)\n/
    )
    const report = read("out/j.xml")
    assert.match(report, /<testcase name="main" [^>]*><failure message="the test was interrupted"/)
    assert.match(report, /<testcase name="first" [^>]*><\/testcase>/)
    assert.match(report, /<testcase name="second" [^>]*><failure /)
    await nothingLeft()
  })
})

describe("threads of the script", () => {
  it("that fail print its own lines and the message only", () => {
    const script = `import threading
def fails():
    web.succeed("true")
one = threading.Thread(target=fails)
one.start()
one.join()
`
    const vms = { web: { start_script: "/bin/false" } }
    const { stderr, stdout } = run(configured({ script, vms }))
    assert.match(stderr + stdout, /Exception in thread/)
    assert.match(stderr + stdout, /script", line 3, in fails/)
    assert.notMatch(stderr + stdout, /shim\.py|threading\.py/)
  })
})

describe("machines", () => {
  const vms = {
    class: { start_script: "/bin/false" },
    "web-1": { start_script: "/bin/false" }
  }

  it("have the names that Python can have; one that is a keyword is in machines", () => {
    const script = `
assert [m.name for m in machines] == ["class", "web-1"]
assert web_1.name == "web-1" and not web_1.is_up()
assert machines[0].state_dir.name == "vm-state-class"
assert str(driver.config.vms["web-1"].start_script) == "/bin/false"
`
    const { status, stderr, stdout } = run(configured({ script, vms }))
    assert.strictEqual(status, 0, stderr + stdout)
  })

  it("are not used by two runs at once", async () => {
    const { child, ended, says } = start(configured({ script: "import time\nprint('begun')\ntime.sleep(100)\n", vms }))
    await says(/begun/)
    const second = run(configured({ script: "pass\n", vms }))
    assert.strictEqual(second.status, 1)
    assert.match(
      second.stderr,
      /could not prepare the folder .*vm-state-class: it is used by another run \(process \d+/
    )
    child.kill("SIGTERM")
    await ended
    assert.strictEqual(run(configured({ script: "pass\n", vms })).status, 0)
  })

  it("that a script makes are not used by two runs at once", async () => {
    const script = `
third = create_machine("/bin/false", name="third", keep_machine_state=True)
print("begun")
import time
time.sleep(100)
`
    const { child, ended, says } = start(configured({ script }))
    await says(/begun/)
    const second = run(configured({ script: 'create_machine("/bin/false", name="third")\n' }))
    assert.strictEqual(second.status, 1)
    assert.match(second.stdout, /StateUnusable: .*vm-state-third: it is used by another run \(process \d+\)/)
    child.kill("SIGTERM")
    await ended
  })

  it("have new state, or do not start", () => {
    const kept = path("run", "vm-state-web-1")
    mkdirSync(join(kept, "inner"), { recursive: true })
    writeFileSync(join(kept, "inner", "disk"), "old")
    chmodSync(join(kept, "inner"), 0o500)
    // What such a folder holds can be removed by root, unless it lacks that capability.
    const before = process.getuid?.() === 0 ? ["setpriv", "--bounding-set=-dac_override", "--inh-caps=-all"] : []
    const { status, stdout } = run(configured({ script: "pass\n", vms }), { before })
    assert.strictEqual(status, 1)
    assert.match(stdout, /StateUnusable: could not prepare the folder .*vm-state-web-1: EACCES/)
    assert.strictEqual(readFileSync(join(kept, "inner", "disk"), "utf8"), "old")
    assert.strictEqual(run([...configured({ script: "pass\n", vms }), "-K"]).status, 0)
    chmodSync(join(kept, "inner"), 0o700)
    assert.strictEqual(run(configured({ script: "pass\n", vms })).status, 0)
    assert.isFalse(existsSync(kept))
  })

  it("have names that lead to no other folder: nothing outside is made or removed", () => {
    mkdirSync(path("precious"))
    mkdirSync(path("run", "vm-state-a"))
    writeFileSync(path("precious", "file"), "mine")
    const before = readdirSync(path()).toSorted()
    const outside = { a: { name: "a/../../precious", start_script: "/bin/false" } }
    const { status, stderr } = run([...configured({ script: "pass\n", vms: outside })])
    assert.strictEqual(status, 1)
    assert.match(stderr, /the name of a machine must be .*, got "a\/\.\.\/\.\.\/precious"/)
    const made = readdirSync(path()).filter((name) => !before.includes(name))
    assert.sameMembers(made, ["config.json", "script"])
    assert.deepStrictEqual(readdirSync(path("run")), ["vm-state-a"])
    assert.strictEqual(read("precious/file"), "mine")
  })

  it("have SSH backdoors over vsock where the configuration says so", async () => {
    write(
      "vhost-device-vsock",
      `#!/bin/bash
[ "$1" = --vm ] && [ "$3" = --vm ] && [ $# = 4 ] || exit 9
for one in "$2" "$4"; do one=\${one#guest-cid=*,socket=}; touch "\${one%%,*}"; done
exec sleep 1000
`,
      0o755
    )
    const web = write("run-web-vm", `#!/bin/bash\nprintf '%s\\n' "$@" >${path("words")}\nexit 5\n`, 0o755)
    const script = `
pair = driver.vhost_vsock.sockets["web"]
assert web.vsock_host == pair.host and web.vsock_guest == pair.guest and pair.guest.exists()
assert set(vars(pair)) == {"name", "guest", "host"}
dump_machine_ssh()
print(f"the guest's is {pair.guest}, the command {web.ssh_backdoor_command(1)}")
settings = pair.host.parent / "ssh_config"
print(settings.read_text() if settings.exists() else "no settings")
try:
    web.start()
    web.connect()
except MachineError:
    pass
`
    const two = { client: { start_script: web }, web: { start_script: web } }
    const args = configured({
      script: `from test_driver.errors import MachineError\n${script}`,
      vms: two,
      enable_ssh_backdoor: true
    })
    for (const tool of ["qemu-system-x86_64", "setpriv"]) symlinkSync(`/usr/bin/${tool}`, path("out", tool))
    const none = run(args, { env: { PATH: path("out") } })
    assert.strictEqual(none.status, 1)
    assert.match(none.stderr, /vhost-device-vsock is not installed/)
    const passes = (more?: NodeJS.ProcessEnv) => {
      const { status, stderr, stdout } = run(args, { env: { PATH: `${path()}:${process.env.PATH}`, ...more } })
      assert.strictEqual(status, 0, stderr + stdout)
      return stderr
    }
    // An ssh as on Debian 12, which does not know vsock: it gets settings. A way to all hosts is none to vsock.
    write("ssh", '#!/bin/sh\n[ "$1" = -G ] && echo "proxycommand nc -X 5 -x proxy %h %p"\n', 0o755)
    const bySettings = passes()
    // Before anything starts, and again by the script.
    assert.lengthOf([...bySettings.matchAll(/ {4}web: {5}ssh -F \S+\/vsock\/ssh_config web$/gm)], 2)
    assert.match(bySettings, /, the command ssh -F \S+\/vsock\/ssh_config web$/m)
    const way = /^ *Host web\n *User root\n *ProxyCommand (\S+) (\S+) (\S+) %p$/m.exec(bySettings) ?? []
    assert.deepStrictEqual(
      [way[1], way[2]?.endsWith("/src/nixos/VsockProxy.ts"), way[3]?.endsWith("/vsock/2.host")],
      [process.execPath, true, true]
    )
    // One with systemd-ssh-proxy, as NixOS has it.
    write("ssh", '#!/bin/sh\necho "proxycommand /run/systemd-ssh-proxy $2 22"\n', 0o755)
    const small = join(tmpdir(), `vmtest-driver-${process.pid}`)
    mkdirSync(small, { mode: 0o700 })
    onTestFinished(() => rmSync(small, { recursive: true, force: true }))
    const stderr = passes({ XDG_RUNTIME_DIR: small })
    assert.lengthOf([...stderr.matchAll(/ {4}web: {5}ssh -o User=root vsock-mux\/\S+\/2\.host$/gm)], 2)
    assert.match(stderr, /, the command ssh -o User=root vsock-mux\/\S+\/2\.host$/m)
    assert.include(stderr, "no settings")
    const [, guest = ""] = /the guest's is (\S+),/.exec(stderr) ?? []
    assert.include(
      read("words"),
      `-chardev\nsocket,id=vsock_ssh,reconnect=0,path=${guest}\n-device\nvhost-user-vsock-pci,chardev=vsock_ssh\n`
    )
    // It would be handed the name of the socket in small letters.
    mkdirSync(path("Capital"), { mode: 0o700 })
    assert.match(passes({ XDG_RUNTIME_DIR: path("Capital") }), /, the command ssh -F \S+\/ssh_config web$/m)
    await nothingLeft()
  })

  it("print how they are reached with --dump-vsocks, as before 2026", () => {
    for (const file of ["old.py", "run-a-vm", "run-b-vm"]) write(file, "")
    const env = { testScript: path("old.py"), startScripts: `${path("run-b-vm")} ${path("run-a-vm")}` }
    const printed = () => {
      const { stderr } = run(["-o", path("out"), "--dump-vsocks", "2"], {
        env: { ...env, PATH: `${path()}:${process.env.PATH}` }
      })
      return stderr
    }
    write("ssh", '#!/bin/sh\necho "proxycommand /run/systemd-ssh-proxy $2 22"\n', 0o755)
    assert.match(printed(), / {4}a: {2}ssh -o User=root vsock\/3\n {4}b: {2}ssh -o User=root vsock\/4\n/)
    write("ssh", '#!/bin/sh\necho "proxycommand none"\n', 0o755)
    assert.include(
      printed(),
      "    a:  ssh -o User=root -o ProxyCommand='socat - VSOCK-CONNECT:3:%p' vsock/3\n    b:  ssh"
    )
  })
})

describe("a script that prints megabytes", () => {
  it("is reported whole", () => {
    const script = "for i in range(50_000):\n    print(i, 'x' * 100)\n"
    const { status, stderr } = run(configured({ script }), { env: { LOGFILE: "/dev/null" } })
    assert.strictEqual(status, 0)
    assert.lengthOf(stderr.match(/^ {2}\d+ x{100}$/gm) ?? [], 50_000)
  })
})

describe("generate-driver-symbols", () => {
  it("writes the names of a script to the working folder, with commas between them", () => {
    const launcher = fileURLToPath(new URL("../../src/nixos/SymbolsLauncher.ts", import.meta.url))
    const { status, stderr, stdout } = spawnSync(process.execPath, [launcher], { cwd: path(), encoding: "utf8" })
    assert.deepStrictEqual([status, stderr, stdout], [0, "", ""])
    const names = read("driver-symbols").split(",")
    for (const name of ["start_all", "subtest", "machines", "driver", "retry", "t", "os"]) assert.include(names, name)
    assert.notInclude(names, "machine")
    const asked = spawnSync(process.execPath, [launcher, "--help"], { cwd: "/proc", encoding: "utf8" })
    assert.deepStrictEqual([asked.status, asked.stderr], [0, ""])
    assert.include(asked.stdout, "Usage: generate-driver-symbols")
    const wrong = spawnSync(process.execPath, [launcher, "x"], { cwd: "/proc", encoding: "utf8" })
    assert.strictEqual(wrong.status, 2)
    assert.match(wrong.stderr, /^generate-driver-symbols: unexpected argument "x"\n/)
    const { status: again, stderr: told } = spawnSync(process.execPath, [launcher], { cwd: "/proc", encoding: "utf8" })
    assert.strictEqual(again, 1)
    assert.match(told, /^generate-driver-symbols: could not write driver-symbols: /)
  })
})
