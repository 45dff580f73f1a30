import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type { MachineShape } from "../../src/backends/Backend.ts"
import { StartFailed } from "../../src/backends/BackendError.ts"
import type * as Mock from "../../src/backends/mock/Mock.ts"
import { Reporter, type RunEvent } from "../../src/driver/RunEvent.ts"
import * as Image from "../../src/images/Image.ts"
import type { MachineOptions } from "../../src/machine/MachineSpec.ts"
import { type PythonScript, python } from "../../src/python/Python.ts"
import { offline, runOnMock } from "../driver/support.ts"
import { untyped } from "../untyped.ts"

interface Settings {
  readonly machines?: Readonly<Record<string, MachineOptions>>
  readonly commands?: Mock.MockGuest["commands"]
  readonly console?: string
  readonly timeout?: string
  /** The machines that do not start. */
  readonly broken?: ReadonlyArray<string>
}

/** Runs one script on the mock: its result, and the lines of the report. */
const run = Effect.fnUntraced(function* (
  script: PythonScript,
  { broken = [], commands = [], console = "", machines = { web: offline() }, timeout = "20 seconds" }: Settings = {}
) {
  const events: Array<RunEvent> = []
  const test = python("a test", { machines, timeout: timeout as "1 second" }, script)
  const guests = ({ name: machine }: MachineShape) => {
    const reason = "its start script ended with exit code 7"
    const startError = new StartFailed({ machine, backend: "mock", reason, output: "no such disk" })
    return { commands, console, startError: broken.includes(machine) ? startError : undefined }
  }
  const [result] = yield* runOnMock([test], { guests }).pipe(
    Effect.provideService(Reporter, (event) => Effect.sync(() => void events.push(event)))
  )
  const lines = events.flatMap((event) => (event._tag === "Log" ? [event.line] : []))
  const started = events.some((event) => event._tag === "MachineEvent" && event.event._tag === "MachineState")
  return { ...result!, events, lines, started }
})

/** A script that must pass. */
const passes = Effect.fnUntraced(function* (script: PythonScript, settings?: Settings) {
  const result = yield* run(script, settings)
  assert.strictEqual(result.failure === undefined ? "" : `${result.failure.kind}: ${result.failure.message}`, "")
  return result
})

/** A script that must fail. */
const fails = Effect.fnUntraced(function* (script: PythonScript, settings?: Settings) {
  const { failure, ...result } = yield* run(script, settings)
  return { ...result, failure: failure ?? (yield* Effect.die(new Error("the script passed"))) }
})

/** A process that nobody has reaped is no more than a number. */
const isAlive = (pid: number): boolean =>
  existsSync(`/proc/${pid}/stat`) && !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, "utf8"))

describe("a script in Python", () => {
  it.live("runs commands of its machines, and what it prints is reported", () =>
    Effect.gen(function* () {
      const { lines } = yield* passes(
        `
          assert machine is web and machines == [web] and driver.machines == [web]
          print("hello")
          assert web.succeed("hostname") == "web\\n"
          assert web.execute("false") == (1, "some\\n")
          assert web.execute("hostname", check_return=False) == (-1, "web\\n")
          assert web.execute("hostname", check_output=False) == (-2, "")
          assert web.succeed("hostname", "hostname", timeout=5) == "web\\nweb\\n"
          assert web.fail("false") == "some\\n"
        `,
        {
          commands: [
            ["hostname", "web\n"],
            ["false", { exitCode: 1, stdout: "some\n" }]
          ]
        }
      )
      assert.include(lines, "hello")
    })
  )

  it.live("fails at its own line with the error of the method, as in TypeScript", () =>
    Effect.gen(function* () {
      const { failure } = yield* fails(
        `
          def inner():
              web.succeed("false")

          inner()
        `,
        { commands: [["false", { exitCode: 3, stderr: "no such thing\n" }]] }
      )
      assert.strictEqual(failure.kind, "CommandFailed")
      assert.include(failure.message, "no such thing")
      assert.match(failure.place?.file ?? "", /Python\.test\.ts$/)
      assert.strictEqual(failure.place?.text.trim(), 'web.succeed("false")')
      assert.strictEqual(failure.callers[0]?.text.trim(), "inner()")
      const source = readFileSync(failure.place?.file ?? "", "utf8").split("\n")
      assert.strictEqual(source[(failure.place?.line ?? 0) - 1], failure.place?.text)
    })
  )

  it.live("fails at its own line also where its text is not in the file as it is", () =>
    Effect.gen(function* () {
      const made = ["a = 1", "", "raise ValueError(a)", "b = 2"].map((line) => `    ${line}`).join("\n")
      const { failure } = yield* fails(made)
      assert.match(failure.place?.file ?? "", /\/test-script\.py$/)
      assert.strictEqual(failure.place?.line, 3)
      assert.strictEqual(failure.place?.text, "raise ValueError(a)")
      assert.deepStrictEqual([failure.place?.before, failure.place?.after], [["a = 1", ""], ["b = 2"]])
    })
  )

  it.live("sees the exceptions of the NixOS driver, with its words", () =>
    passes(
      `
        from test_driver.errors import RequestedAssertionFailed

        def words(fn, kind=RequestedAssertionFailed):
            try:
                fn()
            except kind as error:
                return str(error)
            raise Exception("nothing was raised")

        assert words(lambda: web.succeed("false")) == "command \`false\` failed (exit code 3)"
        assert words(lambda: web.fail("true")) == "command \`true\` unexpectedly succeeded"
        late = words(lambda: web.wait_until_succeeds("false", timeout=0.2))
        assert late.startswith("action timed out after 0.2") and late.endswith("seconds (timeout=0.2)"), late
        assert words(lambda: web.succeed("slow", timeout=0.1)) == "command \`slow\` failed (exit code 124)"
        assert web.execute("slow", timeout=0.1) == (124, "")
        assert web.fail("slow", timeout=0.1) == ""
        assert words(lambda: web.fail(" ")) == "command \` \` unexpectedly succeeded"
        assert words(lambda: web.succeed("false"), AssertionError) == "command \`false\` failed (exit code 3)"
        assert words(lambda: retry(lambda last: False, timeout_seconds=0)).startswith("action timed out after 0.00")
        assert words(lambda: t.assertEqual(1, 2)) == "1 != 2"
        with t.assertRaises(RequestedAssertionFailed):
            t.fail("no")
      `,
      {
        commands: [
          ["false", { exitCode: 3 }],
          ["slow", { delay: "1 minute" }]
        ]
      }
    )
  )

  it.live("makes machines of command lines, and changes how they start", () =>
    passes(
      `
        import os
        from test_driver.errors import MachineError

        other = create_machine("/nix/store/x/bin/run-other_1-vm -m 64")
        assert other.name == "other_1", other.name
        assert create_machine("qemu-system-x86_64 -m 1").name == "machine"
        assert create_machine("qemu-system-x86_64 -m 1", name="third").name == "third"
        os.environ["NIX_DISK_IMAGE"] = "/tmp/disk.qcow2"
        assert other.start_command._cmd == "/nix/store/x/bin/run-other_1-vm -m 64"
        other.start_command._cmd += " -s"
        assert other.start_command._cmd.endswith(" -m 64 -s")
        other.start()
        assert other.succeed("hostname") == "other_1\\n"
        try:
            web.start_command._cmd
            raise Exception("a declared machine has no start command")
        except MachineError as error:
            assert "has no start script" in str(error), error
      `,
      { commands: [["hostname", "other_1\n"]] }
    )
  )

  it.live("fails with its own exceptions, and what caused them", () =>
    Effect.gen(function* () {
      const { failure } = yield* fails(
        `
          try:
              web.succeed("false")
          except Exception as error:
              raise ValueError("bad value") from error
        `,
        { commands: [["false", { exitCode: 3, stderr: "no such thing\n" }]] }
      )
      assert.strictEqual(failure.kind, "ScriptRaised")
      assert.strictEqual(failure.message, "ValueError: bad value")
      assert.include(failure.place?.text ?? "", "raise ValueError")
      assert.include(failure.evidence.find(({ title }) => title === "caused by")?.text ?? "", "no such thing")
    })
  )

  it.live("is not valid Python fails with its line before a machine starts", () =>
    Effect.gen(function* () {
      const { failure, started } = yield* fails(`
        start_all()
        if web.succeed("true")
            pass
      `)
      assert.strictEqual(failure.kind, "PythonSyntaxError")
      assert.strictEqual(failure.place?.text.trim(), 'if web.succeed("true")')
      assert.isFalse(started)
    })
  )

  it.live("ends as it says by sys.exit", () =>
    Effect.gen(function* () {
      yield* passes("import sys\nsys.exit(0)")
      yield* passes("import sys\nsys.exit()")
      const { failure } = yield* fails("import sys\nsys.exit(3)")
      assert.strictEqual(failure.message, "SystemExit: the script called sys.exit(3)")
      const { failure: logged, lines } = yield* fails('log.error("it is over")')
      assert.include(lines, "it is over")
      assert.strictEqual(logged.message, "SystemExit: the script called sys.exit(1)")
    })
  )

  it.live("whose interpreter is killed, or exits without a word, fails with how it ended", () =>
    Effect.gen(function* () {
      const { failure } = yield* fails('import os\nprint("last words", flush=True)\nos.kill(os.getpid(), 9)')
      assert.strictEqual(failure.kind, "InterpreterDied")
      assert.include(failure.message, "signal SIGKILL")
      const { failure: left, lines } = yield* fails('import os, sys\nsys.stderr.write("oh dear\\n")\nos._exit(0)')
      assert.strictEqual(left.kind, "InterpreterDied")
      assert.include(left.message, "exit code 0")
      assert.include(left.message, "oh dear")
      assert.include(lines, "oh dear")
    })
  )

  it.live("that is killed in a subtest fails that too", () =>
    Effect.gen(function* () {
      const { failure, subtests } = yield* fails(`
        import os
        with subtest("outer"):
            with subtest("inner"):
                os.kill(os.getpid(), 9)
      `)
      assert.strictEqual(failure.kind, "InterpreterDied")
      assert.deepStrictEqual(
        subtests.map(({ name, status }) => [name, status]),
        [
          ["inner", "failed"],
          ["outer", "failed"]
        ]
      )
      assert.deepStrictEqual(failure.subtest, ["outer", "inner"])
    })
  )

  it.live("that asks for a method of vmtest's which does not exist fails, and names it", () =>
    Effect.gen(function* () {
      const { failure } = yield* fails('web._do("nonsense")')
      assert.include(failure.message, 'web has no method "nonsense"')
      assert.notInclude(failure.message, "which there is not")
    })
  )

  it.live("that writes to the channel fails, and nothing hangs", () =>
    Effect.gen(function* () {
      const { failure } = yield* fails('import os, time\nos.write(4, b"rubbish\\n")\ntime.sleep(60)')
      assert.strictEqual(failure.kind, "ProtocolBroken")
      assert.include(failure.message, "rubbish")
    })
  )

  it.live("without python3 says what to install", () =>
    Effect.gen(function* () {
      const { PATH } = process.env
      const { failure } = yield* Effect.acquireUseRelease(
        Effect.sync(() => {
          process.env.PATH = "/nowhere"
        }),
        () => fails("start_all()"),
        () =>
          Effect.sync(() => {
            process.env.PATH = PATH
          })
      )
      assert.strictEqual(failure.kind, "ToolMissing")
      assert.strictEqual(failure.message, "python3 is not installed: apt-get install python3")
    })
  )

  it.live("that prints megabytes loses none of them", () =>
    Effect.gen(function* () {
      const { lines } = yield* passes(`
        import sys
        for number in range(60000):
            print(f"{number:05d} " + "x" * 60)
        sys.stdout.write("no line end")
      `)
      const numbers = lines.filter((line) => /^\d{5} x{60}$/.test(line)).map((line) => Number(line.slice(0, 5)))
      assert.lengthOf(numbers, 60_000)
      assert.isTrue(numbers.every((number, index) => number === index))
      assert.include(lines, "no line end")
    })
  )

  it.live("gets outputs of megabytes whole", () =>
    passes(
      `
        assert len(web.succeed("big")) == 30000000
        assert web.succeed("odd") == "a\\u2028b\\x00 \\U0001f600\\n"
        assert web.succeed("echo \\u2028'\\\\'\\n\\"") == "" 
      `,
      {
        commands: [
          ["big", "x".repeat(30_000_000)],
          ["odd", "a\u2028b\0 \u{1f600}\n"]
        ]
      }
    )
  )

  it.live("calls from several threads at once", () =>
    Effect.gen(function* () {
      const { millis } = yield* passes(
        `
          import threading
          results = []
          def work(number):
              results.append(web.succeed(f"slow {number}"))
          threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
          [thread.start() for thread in threads]
          [thread.join() for thread in threads]
          assert sorted(results) == [f"slow {number}" for number in range(8)]
          def late():
              web.succeed("slow 9")
              print("late is over")
          threading.Thread(target=late).start()
        `,
        {
          commands: [[/^slow/, (command) => Effect.delay(Effect.succeed(command), "400 millis")]]
        }
      )
      assert.isBelow(millis, 3000)
    })
  )

  it.live("has processes of its own: programs, and forks, which cannot use machines", () =>
    Effect.gen(function* () {
      const { lines } = yield* passes(`
        import multiprocessing, os, subprocess
        assert subprocess.run(["sh", "-c", "echo $((1 + 1))"], capture_output=True, text=True).stdout == "2\\n"
        def work(queue):
            try:
                web.succeed("true")
            except Exception as error:
                queue.put(str(error))
            log.info("from the fork")
        context = multiprocessing.get_context("fork")
        queue = context.Queue()
        process = context.Process(target=work, args=(queue,))
        process.start()
        assert "cannot use machines; use threads" in queue.get(timeout=10)
        process.join()
        web.succeed("true")
      `)
      assert.include(lines, "from the fork")
    })
  )

  it.live("that raises while it waits cancels what it waited for", () =>
    Effect.gen(function* () {
      let interrupted = 0
      const hangs = Effect.never.pipe(
        Effect.onInterrupt(() =>
          Effect.sync(() => {
            interrupted += 1
          })
        )
      )
      yield* passes(
        `
          import signal
          class Late(Exception):
              pass
          def ring(*_):
              raise Late
          signal.signal(signal.SIGALRM, ring)
          signal.setitimer(signal.ITIMER_REAL, 0.3)
          try:
              web.succeed("hang")
          except Late:
              print("rang")
          web.succeed("true")
        `,
        { commands: [["hang", () => hangs]] }
      )
      assert.strictEqual(interrupted, 1)
    })
  )

  it.live("that the test's timeout ends leaves nothing running, and its finally blocks ran", () =>
    Effect.gen(function* () {
      const folder = mkdtempSync(join(tmpdir(), "vmtest-python-"))
      yield* Effect.addFinalizer(() => Effect.sync(() => rmSync(folder, { recursive: true, force: true })))
      const { failure } = yield* fails(
        `
          import os, subprocess, time
          own = subprocess.Popen(["sleep", "600"])
          apart = subprocess.Popen(["sleep", "600"], start_new_session=True)
          orphan = subprocess.run(["sh", "-c", "setsid sleep 600 >/dev/null 2>&1 & echo $!"], capture_output=True).stdout
          open("${folder}/pids", "w").write(f"{os.getpid()} {own.pid} {apart.pid} {orphan.decode()}")
          try:
              time.sleep(600)
          finally:
              try:
                  web.succeed("true")
              finally:
                  open("${folder}/finally", "w").write("ran")
        `,
        { timeout: "6 seconds" }
      )
      assert.strictEqual(failure.kind, "TestTimeout")
      assert.strictEqual(readFileSync(join(folder, "finally"), "utf8"), "ran")
      const pids = readFileSync(join(folder, "pids"), "utf8").trim().split(/\s+/).map(Number)
      assert.lengthOf(pids, 4)
      assert.deepStrictEqual(pids.filter(isAlive), [])
    }).pipe(Effect.scoped)
  )

  it.live("that ignores its end is killed, and so is one whose run is interrupted", () =>
    Effect.gen(function* () {
      const folder = mkdtempSync(join(tmpdir(), "vmtest-python-"))
      yield* Effect.addFinalizer(() => Effect.sync(() => rmSync(folder, { recursive: true, force: true })))
      const script = `
        import os, signal, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        open("${folder}/pid", "w").write(str(os.getpid()))
        while True:
            time.sleep(1)
      `
      const fiber = yield* Effect.forkChild(run(script))
      yield* Effect.sleep("20 millis").pipe(
        Effect.repeat({
          until: () => existsSync(join(folder, "pid")) && readFileSync(join(folder, "pid"), "utf8") !== ""
        })
      )
      const pid = Number(readFileSync(join(folder, "pid"), "utf8"))
      assert.isTrue(isAlive(pid))
      yield* Fiber.interrupt(fiber)
      assert.isFalse(isAlive(pid))
    }).pipe(Effect.scoped)
  )

  it.live("has subtests, which are reported and nested", () =>
    Effect.gen(function* () {
      const { failure, subtests } = yield* fails(
        `
          with subtest("one"):
              web.succeed("true")
              with subtest("within"):
                  pass
          try:
              with subtest("handled"):
                  raise ValueError("no")
          except ValueError:
              pass
          with driver.subtest("last"):
              with log.subtest("innermost"):
                  web.succeed("false")
        `,
        { commands: [["false", { exitCode: 3 }]] }
      )
      assert.deepStrictEqual(
        subtests.map(({ handled, name, status, within }) => [...within, name, status, handled === true]),
        [
          ["one", "within", "passed", false],
          ["one", "passed", false],
          ["handled", "failed", true],
          ["last", "innermost", "failed", false],
          ["last", "failed", false]
        ]
      )
      assert.strictEqual(failure.kind, "CommandFailed")
      assert.deepStrictEqual(failure.subtest, ["last", "innermost"])
    })
  )

  it.live("has polling conditions: bare, with arguments, waited for, and they end waits", () =>
    Effect.gen(function* () {
      const { failure, lines } = yield* fails(
        `
          @polling_condition
          def always():
              "always holds"
              print("checked")
              web.succeed("true")

          with always:
              web.succeed("true")
          assert driver.polling_conditions == []

          calls = []
          @polling_condition(seconds_interval=0.1, description="three times at most")
          def thrice():
              calls.append(1)
              return len(calls) < 3

          assert polling_condition(lambda: True, description="at once").wait(timeout=5) is None
          with thrice:
              web.wait_until_succeeds("false")
        `,
        { commands: [["false", { exitCode: 3 }]] }
      )
      assert.include(lines, "checked")
      assert.strictEqual(failure.kind, "ScriptRaised")
      assert.strictEqual(failure.message, "PollingConditionError: Polling condition failed: three times at most")
    })
  )

  it.live("has names for its machines: characters that no identifier has, keywords, and one that hides a global", () =>
    passes(
      `
        assert front_end.name == "front-end" and _nd.name == "2nd"
        assert globals()["class"].name == "class"
        assert log.name == "log" and driver.logger is not log
        assert [one.name for one in machines] == ["2nd", "class", "front-end", "log"]
        assert "machine" not in globals()
        assert [one.nr for one in vlans] == [] and machines_nspawn == []
      `,
      { machines: { "front-end": offline(), class: offline(), "2nd": offline(), log: offline() } }
    )
  )

  it.live("explains names that there are not, with what to use", () =>
    Effect.gen(function* () {
      const { lines } = yield* passes(`
        def why(fn):
            try:
                fn()
            except AttributeError as error:
                print(str(error))

        why(lambda: web.monitor)
        why(lambda: web.wait_for_untis)
        why(lambda: web.shell.recv(10))
        why(lambda: driver.race_timer)
        assert not hasattr(web, "efi_vars")
      `)
      assert.include(lines.join("\n"), "vmtest does not have 'monitor' of <QemuMachine 'web'>: it is a socket")
      assert.include(lines.join("\n"), "has no attribute 'wait_for_untis'; did you mean 'wait_for_unit'?")
      assert.include(lines.join("\n"), "vmtest does not have 'recv' of the shell of <QemuMachine 'web'>: use execute")
      assert.include(lines.join("\n"), "vmtest does not have 'race_timer' of driver")
    })
  )

  it.live("imports the package test_driver, and what is beside it", () =>
    Effect.gen(function* () {
      const folder = mkdtempSync(join(tmpdir(), "vmtest-python-"))
      yield* Effect.addFinalizer(() => Effect.sync(() => rmSync(folder, { recursive: true, force: true })))
      writeFileSync(join(folder, "beside.py"), "def hostname(machine):\n    return machine.succeed('hostname')\n")
      writeFileSync(
        join(folder, "script.py"),
        `from test_driver.driver import Driver
from test_driver.machine import BaseMachine, Machine, QemuMachine
from test_driver.machine.qmp import QMPAPIError
import test_driver.polling_condition
import beside
assert isinstance(driver, Driver) and isinstance(web, QemuMachine) and isinstance(web, BaseMachine)
assert __file__.endswith("/script.py")
assert beside.hostname(web) == "web\\n"
beside.hostname(nobody)
`
      )
      const { failure } = yield* fails({ file: join(folder, "script.py") }, { commands: [["hostname", "web\n"]] })
      assert.strictEqual(failure.message, "NameError: name 'nobody' is not defined; machines of this test: web")
      assert.strictEqual(failure.place?.file, join(folder, "script.py"))
      assert.strictEqual(failure.place?.line, 9)
    }).pipe(Effect.scoped)
  )

  it.live("that uses a name which is not defined is told the machines, and which name is near", () =>
    Effect.gen(function* () {
      const machines = { web: offline(), "db-1": offline() }
      const those = "machines of this test: db_1, web"
      for (const [script, hint] of [
        ["wbe.succeed('true')", `; did you mean "web"? (${those})`],
        ["db1.succeed('true')", `; did you mean "db_1"? (${those})`],
        ["machine.succeed('true')", `; ${those}`],
        ["strat_all()", '; did you mean "start_all"?']
      ] as const) {
        const { failure } = yield* fails(script, { machines })
        assert.strictEqual(failure.message, `NameError: name '${/^\w+/.exec(script)?.[0]}' is not defined${hint}`)
      }
      const { failure } = yield* fails("web.succeed('true')", { machines: {} })
      assert.strictEqual(failure.message, "NameError: name 'web' is not defined; the test declares no machines")
      const local = yield* fails("def f():\n    print(x)\n    x = 1\nf()", { machines })
      assert.notInclude(local.failure.message, "machines of this test")
    })
  )

  it.live("that cannot be read, or is none, is a clear error", () =>
    Effect.gen(function* () {
      const { failure } = yield* fails({ file: "/nowhere/script.py" })
      assert.strictEqual(failure.message, "/nowhere/script.py: does not exist")
      const wrong = yield* Effect.flip(runOnMock([python("a test", {}, untyped<string>(3))]))
      assert.include(wrong.message, 'test "a test": the script must be a text or { file: "test.py" }, got 3')
    })
  )

  it.live("starts its machines itself, and sees what they are", () =>
    passes(
      `
        assert not web.booted and not web.connected and not web.is_up()
        assert web.process is None and web.qmp_client is None
        assert web.get_console_log() == "" and web.full_console_log == []
        web.start()
        web.start()
        web.connect()
        assert web.booted and web.connected and web.is_up()
        assert web.state_dir.is_dir() and web.shared_dir.is_dir() and web.out_dir.is_dir()
        (web.state_dir / "a file").write_text("kept")
        web.crash()
        assert not web.booted
        web.wait_for_shutdown()
        start_all()
        web.succeed("true")
        assert (web.state_dir / "a file").read_text() == "kept"
        web.send_console("hello")
        web.release()
        join_all()
        assert not web.is_up()
      `
    )
  )

  it.live("starts a machine that it has switched off when it uses it, once", () =>
    passes(
      `
        import concurrent.futures

        for switch_off in (web.crash, web.release, lambda: setattr(web, "booted", False)):
            assert web.succeed("true") == ""
            assert web.is_up()
            switch_off()
            assert not web.booted
        with concurrent.futures.ThreadPoolExecutor() as pool:
            assert list(pool.map(web.succeed, ["true"] * 4)) == [""] * 4
        made = create_machine("run-made-vm")
        assert made.succeed("true") == "" and made.is_up()
      `
    )
  )

  it.live(
    "hears that a machine did not start: from start() if that has a start script, else from what waits for it",
    () =>
      Effect.gen(function* () {
        yield* passes(
          `
          from test_driver.errors import MachineError

          with t.assertRaises(MachineError) as raised:
              made.start()
          assert "its start script ended with exit code 7" in str(raised.exception), raised.exception
          assert "no such disk" in str(raised.exception)
          assert not made.booted and made.process is None
          # It knows, and goes on.
          made.wait_for_shutdown()
          with t.assertRaises(MachineError):
              start_all()
          # The others run.
          assert web.succeed("true") == ""
          web.crash()
          join_all()
        `,
          {
            broken: ["made"],
            machines: { made: { image: Image.startScript({ command: "run-made-vm" }), vlans: [] }, web: offline() }
          }
        )
        for (const wait of ["web.wait_for_shutdown()", "join_all()", "driver.join_all()"]) {
          // What start() does, before it is known how that ends.
          const { failure } = yield* fails(`web._begin()\n${wait}`, { broken: ["web"] })
          assert.strictEqual(failure.kind, "BootFailed")
          assert.include(failure.message, "no such disk")
          assert.strictEqual(failure.place?.text, wait)
        }
      })
  )

  it.live("sees how the hypervisor of a machine ended, as subprocess tells it", () =>
    passes(
      `
        web.start()
        process = web.process
        assert process.poll() is None and process.returncode is None
        web.crash()
        assert process.poll() == -9 and process.wait(timeout=5) == -9 and process.returncode == -9
        web.start()
        process = web.process
        process.kill()
        assert process.wait() == -9
      `
    )
  )

  it.live("copies files: what it names reaches the machine", () =>
    Effect.gen(function* () {
      const folder = mkdtempSync(join(tmpdir(), "vmtest-python-"))
      yield* Effect.addFinalizer(() => Effect.sync(() => rmSync(folder, { recursive: true, force: true })))
      writeFileSync(join(folder, "file"), "content\n")
      const { lines } = yield* passes(`
        def why(fn):
            try:
                fn()
            except Exception as error:
                print(f"{type(error).__name__}: {error}")

        why(lambda: web.copy_from_host("${folder}/nothing", "/root/x"))
        why(lambda: web.copy_from_host_via_shell("${folder}/nothing", "/root/x"))
        why(lambda: web.copy_from_machine("/nothing", "../outside"))
      `)
      assert.lengthOf(lines, 3)
      assert.match(lines[0]!, /^MachineError: .*nothing on the host does not exist/)
      assert.match(lines[1]!, /^FileNotFoundError: /)
      assert.match(lines[2]!, /^MachineError: .*outside/)
    }).pipe(Effect.scoped)
  )

  it.live("finds texts on the console, each once", () =>
    passes(
      `
        web.start()
        web.wait_for_console_text("first")
        web.wait_for_console_text(r"sec.nd\\nthird")
        web.wait_for_console_text("login: $")
        try:
            web.wait_for_console_text("first", timeout=0.3)
        except Exception as error:
            assert str(error).startswith("action timed out"), error
        else:
            raise Exception("found twice")
        assert web.get_console_log() == "first\\nsecond\\nthird\\nlogin:"
        assert web.full_console_log[1] == "second"
      `,
      { console: "first\r\nsecond \nthird\nlogin: " }
    )
  )
})
