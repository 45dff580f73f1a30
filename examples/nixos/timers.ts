/** Jobs that systemd starts at given times, and setting the clock. Ported from NixOS's tests of `systemd` timers and `logrotate`. */
import assert from "node:assert/strict"
import { Effect } from "effect"
import { Image, test } from "vmtest"

const job = (command: string) => `[Service]\nType=oneshot\nExecStart=sh -c "${command}"\n`

const image = Image.debian({
  packages: ["logrotate"],
  files: {
    "/etc/logrotate.d/app": "/var/log/app.log {\n  daily\n  rotate 2\n  compress\n}\n",
    // Exactly at midnight; the timer's own accuracy is an hour.
    "/etc/systemd/system/logrotate.timer.d/exact.conf": "[Timer]\nAccuracySec=100ms\n",
    "/etc/systemd/user/own.service": job("touch %h/own"),
    "/etc/systemd/user/own.timer": "[Timer]\nOnActiveSec=1s\nAccuracySec=100ms\n"
  },
  users: { alice: { uid: 1000 } },
  units: {
    "tick.service": { text: job("echo tick >>/run/ticks"), enabled: false },
    "tick.timer": "[Timer]\nOnActiveSec=0\nOnUnitActiveSec=1s\nAccuracySec=50ms\n",
    "nightly.service": { text: job("date +%%F >>/run/nights"), enabled: false },
    "nightly.timer": "[Timer]\nOnCalendar=*-*-* 03:30:00\nAccuracySec=100ms\n",
    "broken.service": { text: job("echo the tape is missing >&2; exit 3"), enabled: false },
    "broken.timer": "[Timer]\nOnActiveSec=1s\nAccuracySec=100ms\n"
  },
  // The image masks it, because a guest that lives for minutes does not need it.
  setup: "rm /etc/systemd/system/logrotate.timer && systemctl enable logrotate.timer"
})

export default test(
  "timers start their jobs",
  { machines: { machine: { image, memory: "256 MiB" } }, timeout: "10 minutes" },
  ({ machine }, driver) =>
    Effect.gen(function* () {
      yield* machine.waitForUnit("timers.target")

      yield* driver.subtest("one that repeats", machine.waitUntilSucceeds("[ $(grep -c tick /run/ticks) -ge 3 ]"))

      yield* driver.subtest(
        "a job that fails, with its output in the error",
        Effect.gen(function* () {
          yield* machine.waitUntilSucceeds("systemctl is-failed broken.service")
          const failed = yield* Effect.flip(machine.requireUnitState("broken.service", "inactive"))
          assert.match(failed.message, /the tape is missing/)
        })
      )

      yield* driver.subtest(
        "a nightly job: the clock is set to just before midnight, twice",
        Effect.gen(function* () {
          yield* machine.waitForUnit("nightly.timer")
          for (const day of ["2031-05-01", "2031-05-02"]) {
            yield* machine.succeed(`date --set '${day} 03:29:59'`)
            yield* machine.waitUntilSucceeds(`grep -x ${day} /run/nights`)
          }
          // The first jump is over years, so the next run has been missed, and is made up for at once.
          assert.equal(yield* machine.succeed("uniq /run/nights"), "2031-05-01\n2031-05-02\n")
        })
      )

      yield* driver.subtest(
        "logrotate at midnight",
        Effect.gen(function* () {
          yield* machine.succeed("echo old >/var/log/app.log", "logrotate /etc/logrotate.conf")
          yield* machine.succeed("date --set '2031-05-02 23:59:59'")
          assert.equal(yield* machine.waitUntilSucceeds("zcat /var/log/app.log.1.gz"), "old\n")
          yield* machine.waitUntilSucceeds("systemctl show -P NextElapseUSecRealtime logrotate.timer | grep 2031-05-04")
        })
      )

      yield* driver.subtest(
        "a timer of a user",
        Effect.gen(function* () {
          yield* machine.succeed("loginctl enable-linger alice")
          yield* machine.waitForUnit("user@1000.service")
          yield* machine.startJob("own.timer", { user: "alice" })
          yield* machine.waitForUnit("own.timer", { user: "alice" })
          yield* machine.waitForFile("/home/alice/own")
        })
      )
    })
)
