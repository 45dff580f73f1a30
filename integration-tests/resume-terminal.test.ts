import { execFileSync, spawnSync } from "node:child_process"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { fileURLToPath } from "node:url"
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { needs } from "../test/needs.ts"

const launcher = fileURLToPath(new URL("../src/cli/Launcher.ts", import.meta.url))
const hasTmux = spawnSync("tmux", ["-V"]).status === 0

const failing = `import { Image, test } from "vmtest"
export default test("fails", { machines: { web: { image: Image.tiny() } } }, ({ web }) => web.succeed("false"))
`

describe("the prompt of vmtest resume, on a terminal", () => {
  needs(hasTmux, "tmux is not installed (Debian: tmux)")
  let place = ""
  const tmux = (...args: ReadonlyArray<string>) =>
    execFileSync("tmux", ["-S", join(place, "tmux"), "-f", "/dev/null", ...args], { encoding: "utf8" })
  const screen = () => tmux("capture-pane", "-p", "-S", "-200")
  const enter = (line: string) => {
    tmux("send-keys", "-l", line)
    tmux("send-keys", "Enter")
  }
  const shows = async (what: RegExp) => {
    const until = performance.now() + 120_000
    while (!what.test(screen())) {
      assert.isBelow(performance.now(), until, `${what} on:\n${screen()}`)
      await sleep(200)
    }
  }

  beforeAll(() => {
    if (!hasTmux) return
    place = mkdtempSync(join(tmpdir(), "vmtest-resume-"))
    writeFileSync(join(place, "fails.ts"), failing)
    spawnSync(process.execPath, [launcher, "run", "--snapshot-on-failure", "fails.ts"], { cwd: place })
    tmux("new-session", "-d", "-x", "100", "-y", "40", "-c", place, "sh")
  })
  afterAll(() => {
    if (place === "") return
    spawnSync("tmux", ["-S", join(place, "tmux"), "kill-server"])
    rmSync(place, { recursive: true, force: true })
  })

  it("goes on after a shell in a guest was left, and has heard nothing of what was typed there", async () => {
    enter(`${process.execPath} --disable-warning=ExperimentalWarning ${launcher} resume vmtest-output/fails`)
    await shows(/^vmtest>\s*$/m)
    enter("web.shellInteract()")
    await shows(/a root shell; Ctrl-\] leaves/)
    enter("echo in the $((40 + 2))nd guest")
    await shows(/in the 42nd guest/)
    tmux("send-keys", "C-]")
    await shows(/web: left[\s\S]*^vmtest>\s*$/m)
    enter("`the prompt's ${20 + 3}`")
    await shows(/'the prompt\\'s 23'|"the prompt's 23"/)
    assert.notMatch(screen(), /SyntaxError|ReferenceError/)
    enter(".exit")
  })
})
