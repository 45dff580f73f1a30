/** The journal of one machine, sent to a collector that is down for a while. Ported from NixOS's `systemd-journal-upload` test. */
import { Effect } from "effect"
import { Image, test } from "vmtest"

const image = Image.debian({
  packages: ["systemd-journal-remote"],
  files: {
    "/etc/systemd/journal-upload.conf": "[Upload]\nURL=http://collector:19532\n",
    "/etc/systemd/system/systemd-journal-remote.service.d/http.conf":
      "[Service]\nExecStart=\nExecStart=/lib/systemd/systemd-journal-remote --listen-http=-3 --output=/var/log/journal/remote/\n",
    "/etc/systemd/system/systemd-journal-upload.service.d/patience.conf":
      "[Unit]\nStartLimitIntervalSec=0\n[Service]\nRestart=always\nRestartSec=500ms\n"
  },
  setup: "install -d -o systemd-journal-remote /var/log/journal/remote"
})
const machine = { image, memory: "256 MiB" } as const

export default test(
  "a journal is collected on another machine",
  { machines: { collector: machine, sender: machine }, timeout: "10 minutes" },
  ({ collector, sender }, driver) =>
    Effect.gen(function* () {
      yield* collector.startJob("systemd-journal-remote.socket")
      yield* collector.waitForOpenPort(19532)
      yield* sender.startJob("systemd-journal-upload.service")

      const say = (text: string) => sender.succeed(`logger --tag courier '${text}'`)
      const arrives = (text: string) =>
        collector.waitUntilSucceeds(
          `journalctl --directory=/var/log/journal/remote -q -o cat -t courier _HOSTNAME=sender | grep -Fx '${text}'`,
          { timeout: "2 minutes" }
        )

      yield* driver.subtest("a line arrives", Effect.andThen(say("first"), arrives("first")))

      yield* driver.subtest(
        "lines from while the collector was down arrive when it is up again",
        Effect.gen(function* () {
          // Debian 12's uploader does not notice that the collector closed the connection, so it is stopped first and started again.
          // It can send lines a second time: they arrive at least once.
          yield* sender.stopJob("systemd-journal-upload.service")
          yield* collector.succeed("systemctl stop systemd-journal-remote.socket systemd-journal-remote.service")
          yield* collector.waitForClosedPort(19532)
          yield* say("second")
          yield* sender.systemctl("start --no-block systemd-journal-upload.service")
          yield* sender.waitUntilSucceeds("[ $(systemctl show -P NRestarts systemd-journal-upload.service) -ge 1 ]", {
            timeout: "2 minutes"
          })
          yield* collector.startJob("systemd-journal-remote.socket")
          yield* arrives("second")
        })
      )
    })
)
