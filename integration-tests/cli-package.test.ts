import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process"
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { fileURLToPath } from "node:url"
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"

const root = fileURLToPath(new URL("..", import.meta.url))

/** An empty project of another folder, with the packed vmtest installed. */
let project = ""

beforeAll(() => {
  project = mkdtempSync(join(tmpdir(), "vmtest-project-"))
  execFileSync("npm", ["pack", "--pack-destination", project, "--loglevel=error"], { cwd: root })
  writeFileSync(join(project, "package.json"), JSON.stringify({ name: "project", private: true, type: "module" }))
  const tarball = execFileSync("sh", ["-c", "echo *.tgz"], { cwd: project, encoding: "utf8" }).trim()
  execFileSync("npm", ["install", "--prefer-offline", "--no-audit", "--no-fund", "--loglevel=error", `./${tarball}`], {
    cwd: project
  })
})

afterAll(() => rmSync(project, { recursive: true, force: true }))

const npx = (...args: Array<string>) => spawnSync("npx", ["vmtest", ...args], { cwd: project, encoding: "utf8" })

describe("the packed tarball, installed in an empty project", () => {
  it("has a working command", () => {
    const { status, stderr, stdout } = npx("--version")
    assert.strictEqual(status, 0, stderr)
    assert.match(stdout, /^vmtest v\d+\.\d+\.\d+\n$/)
    assert.include(npx("run", "--help").stdout, "vmtest run")
  })

  it("runs a script on a guest", () => {
    writeFileSync(
      join(project, "tiny.ts"),
      `import { Effect } from "effect"
import { Image, test } from "vmtest"
export default test("tiny", { machines: { m: { image: Image.tiny() } } }, ({ m }) =>
  Effect.flatMap(m.succeed("hostname"), (name) => name === "m\\n" ? Effect.void : Effect.fail(name)))
`
    )
    const { status, stderr, stdout } = npx("run", "tiny.ts")
    assert.strictEqual(status, 0, stdout + stderr)
    assert.match(stdout, /1 passed, 0 failed/)
  })

  it("runs a Python script", () => {
    writeFileSync(join(project, "none.ts"), "export default {}\n")
    writeFileSync(join(project, "test.py"), "assert machines == []\nprint('it ran')\n")
    const { status, stderr, stdout } = npx("run", "test.py", "--machines", "none.ts")
    assert.strictEqual(status, 0, stdout + stderr)
    assert.include(stderr, "it ran")
  })

  it("has the driver of NixOS tests", () => {
    writeFileSync(join(project, "script"), "assert machines == [] and vlan1.nr == 1\n")
    writeFileSync(join(project, "nixos.json"), JSON.stringify({ vms: {}, vlans: [1], test_script: "script" }))
    const bin = (name: string, ...args: ReadonlyArray<string>) =>
      spawnSync(join(project, "node_modules", ".bin", name), args, {
        cwd: project,
        encoding: "utf8",
        env: { ...process.env, PATH: `${dirname(process.execPath)}:${process.env.PATH}` }
      })
    const { status, stderr, stdout } = bin("nixos-test-driver", "--config", "nixos.json")
    assert.strictEqual(status, 0, stdout + stderr)
    assert.match(stdout, /1 passed, 0 failed/)
    assert.strictEqual(bin("generate-driver-symbols").status, 0)
    assert.include(readFileSync(join(project, "driver-symbols"), "utf8"), "start_all")
  })

  it("can be imported, with its types, by every name that it exports", () => {
    writeFileSync(
      join(project, "library.ts"),
      `import { Image, test } from "vmtest"
import * as Actors from "vmtest/actors"
export const image = Image.tiny()
export const names: ReadonlyArray<string> = Object.keys(Actors)
export default test("typed", { machines: { m: { image } } }, ({ m }) => m.succeed("true"))
`
    )
    writeFileSync(
      join(project, "tsconfig.json"),
      JSON.stringify({
        compilerOptions: {
          strict: true,
          noEmit: true,
          module: "nodenext",
          target: "es2023",
          skipLibCheck: true,
          types: [],
          typeRoots: []
        },
        files: ["library.ts"]
      })
    )
    const types = spawnSync(join(root, "node_modules", ".bin", "tsc"), ["-p", project], { encoding: "utf8" })
    assert.strictEqual(types.status, 0, types.stdout)
    const imports = `const a = await import("vmtest"), b = await import("vmtest/actors"); console.log(typeof a.test, Object.keys(b).length > 0)`
    const ran = spawnSync(process.execPath, ["--input-type=module", "-e", imports], { cwd: project, encoding: "utf8" })
    assert.strictEqual(ran.stdout, "function true\n", ran.stderr)
  })
})

const sleepy = `import { Effect } from "effect"
import { test } from "vmtest"
export default test("sleepy", {}, () => Effect.andThen(Effect.sync(() => console.log("asleep")), Effect.sleep("60 seconds")))
`

const endOf = (child: ChildProcess) =>
  new Promise<readonly [number | null, NodeJS.Signals | null]>((resolve) =>
    child.once("exit", (code, signal) => resolve([code, signal]))
  )

/** The vmtest processes of the project, npm and its shell apart. */
const running = (script: string) =>
  readdirSync("/proc").filter((pid) => {
    if (!/^\d+$/.test(pid)) return false
    try {
      const words = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0")
      return words.includes(script) && words.some((word) => word.endsWith("/vmtest")) && !words.includes("-c")
    } catch {
      return false
    }
  })

describe("a signal", () => {
  it("is heard at every moment of the first 1.5 s, and is the first of two", async () => {
    writeFileSync(join(project, "sleepy.ts"), sleepy)
    for (let round = 0; round < 30; round++) {
      const sent = (["SIGINT", "SIGTERM", "SIGHUP"] as const)[round % 3] ?? "SIGINT"
      const delay = Math.random() * 1500
      const child = spawn(process.execPath, ["node_modules/.bin/vmtest", "run", "sleepy.ts"], {
        cwd: project,
        stdio: ["ignore", "ignore", "pipe"]
      })
      let said = ""
      child.stderr.on("data", (chunk) => {
        said += chunk
      })
      const ended = endOf(child)
      await sleep(delay)
      const at = performance.now()
      child.kill(sent)
      const [code, signal] = await ended
      const what = `${sent} after ${delay} ms: ${code} ${signal} ${said}`
      // Before Node has read its first line, the signal ends it as it would end another program.
      assert.isTrue(code === 130 || (signal === sent && delay < 300), what)
      assert.isBelow(performance.now() - at, 5000, what)
    }
  })
})

describe("npx vmtest run", () => {
  for (const [sent, when] of [
    ["SIGTERM", "asleep"],
    ["SIGKILL", "asleep"],
    ["SIGKILL", "at once"]
  ] as const) {
    it(`ends with npx: ${sent} to npx ${when === "asleep" ? "while a test runs" : "before any test runs"}`, async () => {
      const script = `sleepy-${sent}-${when.replace(" ", "-")}.ts`
      writeFileSync(join(project, script), sleepy)
      const npx = spawn("npx", ["vmtest", "run", script], { cwd: project, stdio: ["ignore", "pipe", "ignore"] })
      let said = ""
      npx.stdout.on("data", (chunk) => {
        said += chunk
      })
      const deadline = performance.now() + 30_000
      const begun = () => (when === "asleep" ? said.includes("asleep") : running(script).length > 0)
      while (!begun() && performance.now() < deadline) await sleep(20)
      assert.lengthOf(running(script), 1, said)
      npx.kill(sent)
      const limit = performance.now() + 5000
      while (running(script).length > 0 && performance.now() < limit) await sleep(50)
      assert.deepStrictEqual(running(script), [])
    })
  }

  it("ends with node --run", async () => {
    const script = "sleepy-run.ts"
    writeFileSync(join(project, script), sleepy)
    const file = join(project, "package.json")
    const before = JSON.parse(readFileSync(file, "utf8"))
    writeFileSync(file, JSON.stringify({ ...before, scripts: { ...before.scripts, sleepy: `vmtest run ${script}` } }))
    const { npm_config_user_agent: _, ...env } = process.env
    const runner = spawn(process.execPath, ["--run", "sleepy"], {
      cwd: project,
      env,
      stdio: ["ignore", "pipe", "ignore"]
    })
    await new Promise((resolve) => runner.stdout.once("data", resolve))
    assert.lengthOf(running(script), 1)
    runner.kill("SIGTERM")
    const limit = performance.now() + 5000
    while (running(script).length > 0 && performance.now() < limit) await sleep(50)
    assert.deepStrictEqual(running(script), [])
  })

  it("ends with npx in a container, whose init is in the same session, when npx ends before its first line", (context) => {
    const unshare = ["-u", "npm_config_user_agent", "unshare", "-Urpf", "--mount-proc", "--kill-child"]
    if (spawnSync("env", [...unshare, "true"]).status !== 0) {
      return context.skip("this host does not allow a new user and process namespace")
    }
    writeFileSync(join(project, "sleepy-container.ts"), sleepy)
    const inside = `
      npx vmtest run sleepy-container.ts > /dev/null 2>&1 & npx=$!
      found() { grep -lsz '/vmtest$' /proc/[0-9]*/cmdline; }
      until found > /dev/null; do :; done
      kill -9 $npx
      for try in $(seq 50); do found > /dev/null || { echo gone; exit; }; sleep 0.1; done
      found`
    const ran = spawnSync("env", [...unshare, "sh", "-c", inside], {
      cwd: project,
      encoding: "utf8",
      timeout: 60_000
    })
    assert.strictEqual(ran.stdout, "gone\n", ran.stderr)
  })

  it("does not end in a session of its own (tmux, setsid) that was started from a package manager and outlives it", async () => {
    const script = "sleepy-session.ts"
    writeFileSync(join(project, script), sleepy)
    const shell = `"${process.execPath}" node_modules/.bin/vmtest run ${script}; :`
    spawnSync("setsid", ["--fork", "sh", "-c", shell], {
      cwd: project,
      env: { ...process.env, npm_config_user_agent: "npm" },
      stdio: "ignore"
    })
    const deadline = performance.now() + 30_000
    while (running(script).length === 0 && performance.now() < deadline) await sleep(20)
    await sleep(3000)
    const [pid] = running(script)
    assert.isDefined(pid)
    process.kill(Number(pid), "SIGTERM")
    const limit = performance.now() + 10_000
    while (running(script).length > 0 && performance.now() < limit) await sleep(50)
    assert.deepStrictEqual(running(script), [])
  })
})
