import { execFileSync, spawnSync } from "node:child_process"
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs"
import { connect } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { fileURLToPath } from "node:url"
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { needs } from "../test/needs.ts"
import { processes } from "./snapshotPlace.ts"

const launcher = fileURLToPath(new URL("../src/cli/Launcher.ts", import.meta.url))
const hasTmux = spawnSync("tmux", ["-V"]).status === 0
const vmtest = `${process.execPath} --disable-warning=ExperimentalWarning ${launcher}`

const script = (said: string) => `import { Image, test } from "vmtest"
import { Effect } from "effect"
export default test("says hello", { machines: { web: { image: Image.tiny() } } }, ({ web }) =>
  Effect.flatMap(web.succeed("echo ${said}"), (line) => Effect.sync(() => console.log("body: " + line)))
)
`

const failing = `import { Image, test } from "vmtest"
export default test("fails", { machines: { web: { image: Image.tiny() } } }, ({ web }) => web.succeed("touch /left; false"))
`

/** Terminals of tmux, in a folder with scripts; each is a window of its own. */
const terminals = () => {
  const place = mkdtempSync(join(tmpdir(), "vmtest-session-"))
  const tmux = (...args: ReadonlyArray<string>) =>
    execFileSync("tmux", ["-S", join(place, "tmux"), "-f", "/dev/null", ...args], { encoding: "utf8" })
  const env = { XDG_STATE_HOME: join(place, "state"), XDG_RUNTIME_DIR: join(place, "run") }
  const variables = Object.entries(env).flatMap(([name, value]) => ["-e", `${name}=${value}`])
  const open = (name: string) => {
    const size = ["-x", "110", "-y", "40"]
    tmux("new-session", "-d", "-s", name, ...variables, ...size, "-c", place, "sh")
    const screen = () => tmux("capture-pane", "-t", name, "-p", "-S", "-300")
    const keys = (...names: ReadonlyArray<string>) => void tmux("send-keys", "-t", name, ...names)
    const type = (text: string) => keys("-l", text)
    const enter = (text: string) => {
      type(text)
      keys("Enter")
    }
    const shows = async (what: RegExp, seconds = 45) => {
      const until = performance.now() + seconds * 1000
      for (;;) {
        const shown = screen()
        const found = what.exec(shown)
        if (found !== null) return found
        assert.isBelow(performance.now(), until, `${what} on ${name}:\n${shown}`)
        await sleep(150)
      }
    }
    const clear = () => {
      keys("C-l")
      tmux("clear-history", "-t", name)
    }
    const resize = (columns: number, rows: number) =>
      void tmux("resize-window", "-t", name, "-x", String(columns), "-y", String(rows))
    /** Closes the terminal, as a user does who closes its window. */
    const kill = (what: "window" | "session") => void tmux(`kill-${what}`, "-t", name)
    return { screen, keys, type, enter, shows, clear, resize, kill }
  }
  const close = () => {
    spawnSync("tmux", ["-S", join(place, "tmux"), "kill-server"])
    rmSync(place, { recursive: true, force: true })
  }
  return { place, env, open, close }
}

describe("vmtest repl, on a terminal", () => {
  needs(hasTmux, "tmux is not installed (Debian: tmux)")
  const all = hasTmux ? terminals() : undefined
  const terminal = () => {
    assert.isDefined(all)
    return all
  }
  let one: ReturnType<ReturnType<typeof terminals>["open"]>
  beforeAll(() => {
    if (all === undefined) return
    writeFileSync(join(all.place, "web.ts"), script("hello"))
    one = all.open("one")
  })
  afterAll(() => all?.close())

  it("starts at once, with the machines of the script, which do not run yet", async () => {
    one.enter(`${vmtest} repl web.ts`)
    await one.shows(/machines: web, which start at their first use; \.help lists commands[\s\S]*vmtest>/)
    one.enter(".machines")
    await one.shows(/web +stopped +tiny.* 192\.168\.1\.1/)
  })

  it("runs TypeScript: types, yield*, await, and statements of several lines", async () => {
    one.enter('const greeting: string = yield* web.succeed("echo hi; uname")')
    await one.shows(/ready after[\s\S]*vmtest>$|forked in[\s\S]*vmtest>$/m)
    one.enter("greeting as string")
    await one.shows(/'hi\\nLinux\\n'/)
    one.enter("const twice = (n: number): number => {")
    one.enter("  return n * 2")
    one.enter("}")
    one.enter("twice(await Promise.resolve(21))")
    await one.shows(/^42$/m)
  })

  it("completes names of machines, their methods, and commands", async () => {
    one.clear()
    one.type("web.succ")
    one.keys("Tab")
    await one.shows(/^vmtest> web\.succeed$/m)
    one.type('("echo $((40 + 3))")')
    one.keys("Enter")
    await one.shows(/'43\\n'/)
    one.type(".scr")
    one.keys("Tab")
    await one.shows(/^vmtest> \.screen$/m)
    one.type(" w")
    one.keys("Tab")
    await one.shows(/^vmtest> \.screen web$/m)
    one.keys("C-u")
  })

  it("goes on after errors, which name what went wrong", async () => {
    one.clear()
    one.enter("nobody")
    await one.shows(/ReferenceError: nobody is not defined/)
    one.enter('yield* web.succeed("exit 7")')
    await one.shows(/CommandFailed: web: `exit 7` failed with exit code 7/)
    one.enter("web.suceed")
    await one.shows(/web has no method "suceed"; did you mean "succeed"\?/)
    one.enter("const x: = 1")
    await one.shows(/SyntaxError/)
    one.enter(".shell wbe")
    await one.shows(/\.shell: there is no machine "wbe"; did you mean "web"\?/)
    one.enter("1 + 1")
    await one.shows(/^2$/m)
  })

  it("has Ctrl-C cancel the running step, in the guest too, and nothing else", async () => {
    one.clear()
    one.enter('yield* web.succeed("sleep 5432")')
    await sleep(1500)
    one.keys("C-c")
    await one.shows(/^interrupted$/m)
    for (let times = 0; times < 3; times++) one.keys("C-c")
    await one.shows(/\.exit or Ctrl-D leaves/)
    one.enter("yield* web.execute(\"ps | grep -c '[s]leep 5432'\")")
    await one.shows(/stdout: '0\\n'/)
  })

  it("shows the supervision tree, live with .top", async () => {
    one.clear()
    one.enter(".tree")
    await one.shows(/Supervisor[\s\S]*Machine[\s\S]*Hypervisor/)
    one.enter(".top")
    await one.shows(/MACHINE +STATE[\s\S]*web +ready[\s\S]*q leaves/)
    one.keys("q")
    await one.shows(/vmtest>$/m)
  })

  it("writes the screen to a file where the terminal shows no pictures", async () => {
    one.clear()
    one.enter(".screen web")
    const [, path = ""] = await one.shows(/the picture is '?(vmtest-output\/[^'\n]*web\.png)/)
    assert.deepStrictEqual([...readFileSync(join(terminal().place, path)).subarray(1, 4)], [...Buffer.from("PNG")])
  })

  it("saves machines, goes back, and forks them", async () => {
    one.clear()
    one.enter(".snapshot web before")
    await one.shows(/to go back: web\.restore\("before"\)/)
    one.enter('yield* web.succeed("touch /after; echo touched")')
    await one.shows(/'touched\\n'/)
    one.enter('yield* web.restore("before"); "restored"')
    await one.shows(/'restored'/)
    one.enter('(yield* web.execute("test -e /after")).exitCode + 40')
    await one.shows(/^41$/m)
    one.enter(".fork web other")
    await one.shows(/it is other/)
    one.enter('yield* other.succeed("echo from the other")')
    await one.shows(/'from the other\\n'/)
  })

  it("runs the script's body, and reads the script again for new machines", async () => {
    one.clear()
    one.enter(".test")
    await one.shows(/body: hello[\s\S]*passed after/)
    writeFileSync(join(terminal().place, "web.ts"), script("goodbye"))
    one.enter(".restart")
    await one.shows(/^machines: web$/m)
    one.enter("Object.keys(machines)")
    await one.shows(/\[ 'web' \]/)
    one.enter(".test")
    await one.shows(/body: goodbye[\s\S]*passed after/)
  })

  it("remembers lines across sessions", async () => {
    one.enter(".exit")
    await sleep(500)
    one.enter(`clear; ${vmtest} repl`)
    await one.shows(/no machines; \.help[\s\S]*vmtest>$/m)
    // Node's REPL remembers the `.exit` that ended the session only where another line came just before it.
    one.keys("Up")
    const [, newest] = await one.shows(/^vmtest> (\.\w+)$/m)
    if (newest === ".exit") one.keys("Up")
    await one.shows(/^vmtest> \.test$/m)
    one.keys("C-u")
    one.enter(".exit")
    const history = join(terminal().place, "state", "vmtest")
    assert.strictEqual(statSync(history).mode & 0o777, 0o700)
    assert.include(readFileSync(join(history, "history"), "utf8"), "greeting as string")
  })
})

describe("a failed test that --pause-on-failure keeps", () => {
  needs(hasTmux, "tmux is not installed (Debian: tmux)")
  const all = hasTmux ? terminals() : undefined
  beforeAll(() => {
    if (all !== undefined) writeFileSync(join(all.place, "fails.ts"), failing)
  })
  afterAll(() => all?.close())
  const get = () => {
    assert.isDefined(all)
    return all
  }
  const vmtestOnce = (...args: ReadonlyArray<string>) =>
    spawnSync(process.execPath, ["--disable-warning=ExperimentalWarning", launcher, ...args], {
      cwd: get().place,
      env: { ...process.env, ...get().env },
      encoding: "utf8",
      input: ""
    })

  it("has a session on its own terminal, and the run goes on when that ends", async () => {
    const one = get().open("own")
    one.enter(`${vmtest} run --pause-on-failure fails.ts; echo code $?`)
    await one.shows(/CommandFailed[\s\S]*"fails" is paused at its failure[\s\S]*vmtest>/)
    one.enter('yield* web.succeed("ls /left")')
    await one.shows(/'\/left\\n'/)
    one.enter(".exit")
    await one.shows(/the run continues[\s\S]*0 passed, 1 failed[\s\S]*code 1/)
  })

  it("can be attached to by several, from other terminals, who leave it or end it; top shows it", async () => {
    const run = get().open("run")
    run.enter(`${vmtest} run --pause-on-failure fails.ts </dev/null 2>&1 | cat`)
    const [, id = ""] = await run.shows(/paused at its failure[\s\S]*^ {2}npx vmtest attach ([0-9a-f]{8})$/m)
    const folder = join(get().env.XDG_RUNTIME_DIR, "vmtest", id)
    assert.strictEqual(statSync(folder).mode & 0o777, 0o700)

    const one = get().open("one")
    const two = get().open("two")
    one.enter(`${vmtest} attach`)
    two.enter(`${vmtest} attach ${id}`)
    await one.shows(/attached to "fails"[\s\S]*vmtest>/)
    await two.shows(/attached to "fails"[\s\S]*vmtest>/)
    one.type("web.succ")
    one.keys("Tab")
    await one.shows(/^vmtest> web\.succeed$/m)
    one.type('("ls /left")')
    one.keys("Enter")
    await one.shows(/'\/left\\n'/)
    two.enter('yield* web.succeed("sleep 77")')
    await sleep(1000)
    two.keys("C-c")
    await two.shows(/^interrupted$/m)

    const { stdout } = vmtestOnce("top", "--once", "--json")
    const seen = JSON.parse(stdout).find(({ run }: { readonly run: string }) => run === id)
    assert.deepInclude(seen, { version: 1, run: id, attachable: [{ name: "fails", kind: "paused" }] })
    assert.deepInclude(seen.tests[0].machines[0], { name: "web", state: "ready" })
    assert.isAbove(seen.tests[0].machines[0].resident, 0)
    assert.include(
      seen.processes.map(({ kind }: { readonly kind: string }) => kind),
      "Supervisor"
    )
    assert.match(
      vmtestOnce("top", "--once").stdout,
      /run [0-9a-f]{8} +pid \d+[\s\S]*"fails" is paused[\s\S]*web +ready/
    )

    const piped = spawnSync("sh", ["-c", `echo 'yield* web.succeed("echo piped")' | ${vmtest} attach`], {
      env: { ...process.env, ...get().env },
      encoding: "utf8"
    })
    assert.deepStrictEqual([piped.stdout, piped.status], ["'piped\\n'\n", 0], piped.stderr)

    one.keys("C-d")
    await one.shows(/detached; the test is still paused/)
    one.enter(`${vmtest} top`)
    await one.shows(/web +ready[\s\S]*q leaves/)
    one.keys("q")
    two.enter(".exit")
    await two.shows(/the session has ended, and the run continues/)
    await run.shows(/0 passed, 1 failed/)
    const after = vmtestOnce("attach", id)
    assert.strictEqual(after.status, 2)
    // Other runs of this user may be there.
    assert.match(
      after.stderr,
      new RegExp(`^vmtest: could not attach: there is no run "${id}"; (no vmtest is running|there are )`)
    )
    assert.notInclude(vmtestOnce("top", "--once").stdout, id)
  })

  it("is kept until the time that is given is up", () => {
    const { status, stderr } = vmtestOnce("run", "--pause-on-failure", "--pause-timeout", "2 seconds", "fails.ts")
    assert.strictEqual(status, 1)
    assert.match(stderr, /its machines are up for 2s\.[\s\S]*the time of --pause-timeout is up/)
  })
})

describe("a shell in a guest, from a session", () => {
  needs(hasTmux, "tmux is not installed (Debian: tmux)")
  const all = hasTmux ? terminals() : undefined
  afterAll(() => all?.close())

  it("is a terminal: its size follows, Ctrl-C is the guest's, and programs can use the whole screen", async () => {
    assert.isDefined(all)
    const one = all.open("one")
    one.enter(`${vmtest} repl`)
    await one.shows(/vmtest>$/m)
    one.enter('yield* driver.machine("deb", { image: Image.debian(), memory: "512 MiB" })')
    one.enter(".shell deb")
    await one.shows(/a root shell; Ctrl-\] leaves\s+root@deb:/, 200)
    one.enter("echo $(tty) $(stty size)")
    await one.shows(/\/dev\/pts\/\d+ 40 110/)
    one.enter("sleep 600")
    await sleep(1000)
    one.keys("C-c")
    one.resize(90, 30)
    await sleep(1500)
    one.enter("echo now $(stty size)")
    await one.shows(/now 30 90/)
    one.enter("printf '\\033[31mred\\033[0m\\n'; top")
    await one.shows(/load average[\s\S]*PID +USER/)
    one.keys("q")
    one.enter("echo left top")
    await one.shows(/^left top/m)
    one.keys("C-]")
    await one.shows(/deb: left[\s\S]*vmtest>/)
    one.enter(".vnc deb")
    const [, socket = ""] = await one.shows(/served at (\/\S+vnc)/)
    assert.isTrue(existsSync(socket))
    const banner = await new Promise<string>((resolve, reject) => {
      const viewer = connect(socket)
      viewer.once("data", (bytes) => {
        viewer.destroy()
        resolve(String(bytes))
      })
      viewer.once("error", reject)
    })
    assert.match(banner, /^RFB 003\.\d{3}\n$/)
    one.enter(".exit")
    await sleep(3000)
    assert.isFalse(existsSync(socket))
  })
})

describe("a terminal that closes during a run", () => {
  needs(hasTmux, "tmux is not installed (Debian: tmux)")
  const long = `import { Image, test } from "vmtest"
import { Effect } from "effect"
const machines = { web: { image: Image.tiny() } }
export default [
  test("passes", {}, () => Effect.void),
  test("is under way", { machines }, ({ web }) => web.succeed("echo begun; sleep 4321"))
]
`
  for (const what of ["window", "session"] as const) {
    it(`as a ${what} of tmux leaves nothing behind, and all reports`, { timeout: 120_000 }, async () => {
      const all = terminals()
      try {
        writeFileSync(join(all.place, "long.ts"), long)
        const files = { junit: "j.xml", json: "e.jsonl", html: "r.html" }
        const options = Object.entries(files).map(([name, file]) => `--${name} ${join(all.place, file)}`)
        const read = (file: string) => readFileSync(join(all.place, file), "utf8")
        // Another one keeps the server of the terminals up.
        all.open("other")
        const terminal = all.open("closes")
        terminal.enter(`${vmtest} run --verbose -j 1 ${options.join(" ")} long.ts`)
        await terminal.shows(/web: .*sleep 4321/, 60)
        assert.isNotEmpty(processes(all.place).filter((command) => command.includes("long.ts")))
        terminal.kill(what)
        const isOfRun = (command: string) => !command.startsWith("tmux")
        const until = performance.now() + 30_000
        while (processes(all.place).some(isOfRun) && performance.now() < until) await sleep(100)
        assert.deepStrictEqual(processes(all.place).filter(isOfRun), [])
        assert.match(read(files.junit), /name="passes"[\s\S]*the test was interrupted[\s\S]*<\/testsuites>\s*$/)
        const last: unknown = JSON.parse(read(files.json).trimEnd().split("\n").at(-1) ?? "")
        assert.deepInclude(last, { type: "run-ended", interrupted: true })
        assert.include(read(files.html), '"interrupted":true')
        assert.include(read("vmtest-output/is under way/trace.html"), '"interrupted":true')
        assert.deepStrictEqual(readdirSync(join(all.place, "run", "vmtest")), [])
      } finally {
        all.close()
      }
    })
  }
})
