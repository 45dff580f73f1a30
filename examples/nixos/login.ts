/** Logging in on a terminal with the keyboard, and reading the screen. Ported from NixOS's `login` test. */
import assert from "node:assert/strict"
import * as Fs from "node:fs"
import { Effect } from "effect"
import { Image, test } from "vmtest"

const image = Image.debian({
  packages: ["kbd"],
  users: { alice: { password: "foobar" } },
  // By default login ends after a minute, failed attempts included, which is too short on a busy host.
  setup: "sed -i 's/^LOGIN_TIMEOUT.*/LOGIN_TIMEOUT 600/' /etc/login.defs"
})

const printable = String.fromCharCode(...Array.from({ length: 0x7f - 0x20 }, (_, index) => 0x20 + index))

export default test(
  "a user logs in on a terminal",
  // The prompt has the machine's name, and that of a snapshot can be another.
  { machines: { machine: { image, memory: "256 MiB", snapshot: false } }, timeout: "10 minutes" },
  ({ machine }, driver) =>
    Effect.gen(function* () {
      const prompt = /alice@machine:~\$ *$/m
      const patience = { timeout: "2 minutes" } as const
      const logIn = Effect.fn(function* (tty: number, password: string) {
        yield* machine.waitUntilTtyMatches(tty, /machine login: *$/, patience)
        yield* machine.sendChars("alice\n")
        yield* machine.waitUntilTtyMatches(tty, /Password: *$/, patience)
        yield* machine.sendChars(`${password}\n`)
      })

      yield* driver.subtest(
        "the screen shows the login prompt",
        Effect.gen(function* () {
          yield* machine.waitForUnit("getty@tty1.service")
          yield* machine.waitForText("machine login:", patience)
          const picture = yield* machine.screenshot("login")
          assert.equal(Fs.readFileSync(picture).subarray(1, 4).toString(), "PNG")
          assert.match(yield* machine.getTtyText(1), /Debian GNU\/Linux 12 machine tty1/)
        })
      )

      yield* driver.subtest(
        "a wrong password is refused",
        Effect.gen(function* () {
          yield* logIn(1, "barfoo")
          yield* machine.waitUntilTtyMatches(1, "Login incorrect")
          yield* machine.fail("pgrep -u alice bash")
        })
      )

      yield* driver.subtest(
        "the right password is accepted",
        Effect.gen(function* () {
          yield* logIn(1, "foobar")
          yield* machine.waitUntilTtyMatches(1, prompt, patience)
          yield* machine.sendChars("touch done\n")
          yield* machine.waitForFile("/home/alice/done")
        })
      )

      yield* driver.subtest(
        "every character arrives as typed",
        Effect.gen(function* () {
          yield* machine.sendChars("cat >typed\n")
          yield* machine.waitUntilSucceeds("pgrep -u alice -x cat")
          yield* machine.sendChars(`${printable}\n`)
          yield* machine.sendKey("ctrl-d")
          yield* machine.waitUntilFails("pgrep -u alice -x cat")
          assert.equal(yield* machine.readFile("/home/alice/typed"), `${printable}\n`)
        })
      )

      yield* driver.subtest(
        "another terminal starts on demand",
        Effect.gen(function* () {
          yield* machine.fail("systemctl is-active getty@tty2.service")
          yield* machine.sendKey("alt-f2")
          yield* machine.waitUntilSucceeds("[ $(fgconsole) = 2 ]")
          yield* logIn(2, "foobar")
          yield* machine.waitUntilTtyMatches(2, prompt)
          assert.equal(yield* machine.succeed("loginctl list-sessions --no-legend | grep -c alice"), "2\n")
          yield* machine.waitForText(/tty2.*alice@machine:~\$/s)
        })
      )

      yield* driver.subtest(
        "logging out ends the session",
        Effect.gen(function* () {
          yield* machine.sendChars("exit\n")
          yield* machine.waitUntilTtyMatches(2, /machine login: *$/)
          yield* machine.sendKey("alt-f1")
          yield* machine.waitUntilSucceeds("[ $(fgconsole) = 1 ]")
          yield* machine.sendChars("exit\n")
          yield* machine.waitUntilFails("pgrep -u alice bash")
        })
      )

      yield* driver.subtest(
        "ctrl-alt-delete shuts the machine down",
        Effect.gen(function* () {
          yield* machine.sendKey("ctrl-alt-delete")
          yield* machine.waitForShutdown()
          assert.equal(yield* machine.isUp(), false)
        })
      )
    })
)
