import { assert } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import * as Image from "../src/images/Image.ts"
import type { Machine as MachineOf } from "../src/machine/Machine.ts"
import { Machine, machines } from "../src/vitest.ts"

class Web extends Machine<Web>()("web", {
  image: Image.debian({ packages: ["nginx-light"] }),
  memory: "512 MiB"
}) {}

type Failing = Effect.Effect<unknown, { readonly _tag: string; readonly message: string }>

/** Puts a unit into the running guest. */
const unit = (machine: MachineOf, name: string, service: string) =>
  Effect.andThen(
    machine.writeFile(`/etc/systemd/system/${name}`, `[Unit]\nDescription=${name}\n[Service]\n${service}\n`),
    machine.succeed("systemctl daemon-reload")
  )

/** No package is for users: they have service managers in every Debian guest. */
class Desk extends Machine<Desk>()("desk", {
  image: Image.debian({ packages: ["logrotate"], users: { carol: { linger: true } } }),
  memory: "512 MiB"
}) {}

machines(Desk)("the units of a user", (it) => {
  it.effect("are there from the boot on for a user who lingers in the image", () =>
    Effect.gen(function* () {
      const desk = yield* Desk
      yield* desk.waitForUnit("default.target", { user: "carol" })
    })
  )

  it.effect("fail a wait at once, with the cause, where the guest lacks what a user's manager needs", () =>
    Effect.gen(function* () {
      const desk = yield* Desk
      yield* desk.succeed(
        "useradd -m bob",
        "mkdir /root/kept",
        "mv /lib/x86_64-linux-gnu/security/pam_systemd.so /root/kept"
      )
      const waiting = yield* Effect.forkChild(Effect.flip(desk.waitForUnit("default.target", { user: "bob" })))
      yield* desk.succeed("loginctl enable-linger bob")
      const started = yield* Clock.currentTimeMillis
      const error = yield* Fiber.join(waiting)
      assert.isBelow((yield* Clock.currentTimeMillis) - started, 60_000)
      const cause = "the guest has no pam_systemd, which user sessions need (in Debian, the package libpam-systemd)"
      assert.deepInclude(error, { _tag: "NoUserManager", user: "bob", reason: cause })
      assert.include(error.message, `desk: the service manager of bob is not running: ${cause}\njournal:\n  `)
      const show = yield* Effect.flip(desk.getUnitInfo("default.target", { user: "bob" }))
      assert.deepInclude(show, { _tag: "CommandFailed", exitCode: 1 })
      assert.include(show.message, `the service manager of bob is not running: ${cause}`)
      yield* desk.succeed("mv /root/kept/pam_systemd.so /lib/x86_64-linux-gnu/security/")
      const failed = yield* Effect.flip(desk.waitForUnit("default.target", { user: "bob" }))
      assert.match(failed.message, /the service manager of bob is not running: user@\d+\.service has failed/)
      yield* desk.succeed("systemctl restart user@$(id -u bob)")
      yield* desk.waitForUnit("default.target", { user: "bob" })
    })
  )

  it.effect("are waited for from before the user's manager runs; their journal is the user's", () =>
    Effect.gen(function* () {
      const desk = yield* Desk
      const user = "alice"
      yield* desk.succeed(`useradd -m ${user}`)
      const services = {
        hello: "Type=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sh -c 'echo hello from $USER; sleep 3'",
        // A oneshot: a simple service is active until its program ends, which a wait may hear of.
        broken: "Type=oneshot\nExecStart=/bin/sh -c 'echo what a pity; sleep 1; exit 3'"
      }
      for (const [name, service] of Object.entries(services)) {
        yield* desk.writeFile(`/etc/systemd/user/${name}.service`, `[Service]\n${service}\n`)
      }
      const running = yield* Effect.forkChild(desk.waitForUnit("default.target", { user }))
      yield* Effect.sleep("1 second")
      yield* desk.succeed(`loginctl enable-linger ${user}`)
      yield* Fiber.join(running)

      yield* desk.requireUnitState("hello.service", "inactive", { user })
      yield* desk.systemctl("start --no-block hello.service", { user })
      yield* desk.waitForUnit("hello.service", { user })
      assert.strictEqual(yield* desk.getUnitProperty("hello.service", "SubState", { user }), "exited")
      assert.strictEqual((yield* desk.getUnitInfo("hello.service", { user })).ActiveState, "active")
      const system = yield* Effect.flip(desk.waitForUnit("hello.service"))
      assert.include(system.message, "hello.service does not exist")
      yield* desk.stopJob("hello.service", { user })
      yield* desk.requireUnitState("hello.service", "inactive", { user })
      yield* desk.startJob("hello.service", { user })

      yield* desk.systemctl("start --no-block broken.service", { user })
      const error = yield* Effect.flip(desk.waitForUnit("broken.service", { user }))
      assert.strictEqual(error._tag, "UnitFailed")
      assert.include(error.message, "what a pity")
      const journal = yield* Stream.runCollect(desk.journal({ user, unit: "hello", follow: false }))
      assert.include(
        journal.map(({ message }) => message),
        "hello from alice"
      )
      assert.isTrue(journal.every(({ unit }) => unit === "hello.service"))
    })
  )
})

machines(Web)("systemd units", (it) => {
  it.effect("are waited for until they are active", () =>
    Effect.gen(function* () {
      const web = yield* Web
      yield* web.waitForUnit("nginx.service")
      yield* web.waitForUnit("multi-user.target")
      yield* web.waitForOpenPort(80)
      assert.strictEqual(yield* web.getUnitProperty("nginx.service", "ActiveState"), "active")
      assert.strictEqual((yield* web.getUnitInfo("nginx.service")).LoadState, "loaded")
      yield* web.requireUnitState("nginx.service")
    })
  )

  it.effect("are noticed when they become active", () =>
    Effect.gen(function* () {
      const web = yield* Web
      yield* unit(web, "slow.service", "Type=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sleep 2")
      yield* web.succeed("systemctl start --no-block slow.service")
      yield* web.waitForUnit("slow.service", { timeout: "1 minute" })
      assert.strictEqual(yield* web.getUnitProperty("slow.service", "SubState"), "exited")
    })
  )

  it.effect("fail the wait at once when they failed, with their journal", () =>
    Effect.gen(function* () {
      const web = yield* Web
      // A oneshot: a simple service is active until its program ends, which a wait may hear of.
      const service = "Type=oneshot\nExecStart=/bin/sh -c 'echo cannot find the configuration; exit 7'"
      yield* unit(web, "broken.service", service)
      yield* web.succeed("systemctl start --no-block broken.service")
      const started = yield* Clock.currentTimeMillis
      const error = yield* Effect.flip(web.waitForUnit("broken.service", { timeout: "2 minutes" }))
      assert.isBelow((yield* Clock.currentTimeMillis) - started, 30_000)
      assert.strictEqual(error._tag, "UnitFailed")
      if (error._tag !== "UnitFailed") return
      assert.strictEqual(error.state, "failed")
      assert.include(error.journal, "cannot find the configuration")
      assert.include(error.message, "cannot find the configuration")
    })
  )

  it.effect("fail the wait at once when they are inactive and nothing is pending", () =>
    Effect.gen(function* () {
      const web = yield* Web
      yield* unit(web, "idle.service", "ExecStart=/bin/sleep 600")
      const idle = yield* Effect.flip(web.waitForUnit("idle.service", { timeout: "2 minutes" }))
      assert.include(idle.message, "idle.service is inactive (dead), and no job is pending")
      const unknown = yield* Effect.flip(web.waitForUnit("nope.service", { timeout: "2 minutes" }))
      assert.include(unknown.message, "does not exist")
      // Whatever is pending for others.
      yield* unit(web, "busy.service", "Type=oneshot\nExecStart=/bin/sleep 600")
      yield* web.succeed("systemctl start --no-block busy.service")
      const busy = yield* Effect.flip(web.waitForUnit("nope.service", { timeout: "2 minutes" }))
      assert.strictEqual(busy._tag, "UnitFailed")
      yield* web.succeed("systemctl stop busy.service")
    })
  )

  it.effect("are waited for in any state", () =>
    Effect.gen(function* () {
      const web = yield* Web
      yield* unit(web, "passing.service", "Type=oneshot\nExecStart=/bin/sleep 3\nExecStopPost=/bin/sleep 2")
      const passing = yield* Effect.forEach(["activating", "deactivating"] as const, (state) =>
        Effect.forkChild(Effect.exit(Effect.delay(web.waitForUnit("passing", { state }), "500 millis")))
      )
      yield* web.succeed("systemctl start --no-block passing.service")
      for (const fiber of passing) assert.isTrue(Exit.isSuccess(yield* Fiber.join(fiber)))
      // A oneshot that has ended well counts as active.
      yield* web.waitForUnit("passing")
      yield* web.waitForUnit("passing", { state: "inactive" })
      const never = yield* Effect.flip(web.waitForUnit("passing", { state: "failed" }))
      assert.include(never.message, "passing is inactive (dead), and no job is pending; expected failed")

      yield* unit(web, "failing.service", "Type=oneshot\nExecStart=/bin/sh -c 'sleep 1; exit 3'")
      yield* web.succeed("systemctl start --no-block failing.service")
      yield* web.waitForUnit("failing", { state: "failed" })
      const stays = yield* Effect.flip(web.waitForUnit("failing", { state: "inactive" }))
      assert.include(stays.message, "failing is failed (failed), result exit-code; expected inactive")
      const gone = yield* Effect.flip(web.waitForUnit("no-such", { state: "inactive" }))
      assert.include(gone.message, "no-such does not exist")
      yield* web.succeed("systemd-run --unit=brief sleep 3")
      yield* web.waitForUnit("brief", { state: "inactive" })
    })
  )

  it.effect("start by Debian's own programs: nothing is left that kept them from starting in the build", () =>
    Effect.gen(function* () {
      const web = yield* Web
      yield* web.succeed("start-stop-daemon --start --background --exec /bin/sleep -- 77", "pgrep -fx '/bin/sleep 77'")
      yield* web.succeed("pkill -fx '/bin/sleep 77'")
      const left =
        "ls -d /usr/sbin/policy-rc.d /sbin/start-stop-daemon.REAL /etc/apt/apt.conf.d/*mmdebstrap 2>/dev/null"
      assert.strictEqual((yield* web.execute(left)).stdout, "")
    })
  )

  it.effect("are not active in a restart loop; how often systemd restarted them is told", () =>
    Effect.gen(function* () {
      const web = yield* Web
      yield* unit(web, "broken-simple.service", "ExecStart=/bin/false")
      yield* web.succeed("systemctl start --no-block broken-simple.service")
      const broken = yield* Effect.flip(web.waitForUnit("broken-simple"))
      assert.include(broken.message, "broken-simple is failed (failed), result exit-code")

      const limits = "[Unit]\nStartLimitIntervalSec=3600\nStartLimitBurst=3\n"
      yield* web.writeFile(
        "/etc/systemd/system/limited.service",
        `${limits}[Service]\nExecStart=/bin/false\nRestart=always\n`
      )
      yield* web.succeed("systemctl daemon-reload")
      yield* web.succeed("systemctl start --no-block limited.service")
      const limited = yield* Effect.flip(web.waitForUnit("limited"))
      assert.match(
        limited.message,
        /limited is failed \(failed\), result \S+, after systemd had restarted it \d+ times/
      )

      yield* web.writeFile(
        "/etc/systemd/system/loop.service",
        "[Unit]\nStartLimitIntervalSec=0\n[Service]\nExecStart=/bin/sleep 0.5\nRestart=always\n"
      )
      yield* web.succeed("systemctl daemon-reload; systemctl start --no-block loop.service")
      // Its first life looks like that of any service.
      yield* web.waitUntilSucceeds("[ $(systemctl show -P NRestarts loop.service) -ge 1 ]")
      const loop = yield* Effect.flip(web.waitForUnit("loop", { timeout: "15 seconds" }))
      assert.strictEqual(loop._tag, "WaitTimeout")
      assert.match(loop.message, /systemd has restarted it \d+ times/)
      yield* web.succeed("systemctl stop loop.service")
    })
  )

  it.effect("of Type=simple may not listen yet, which explains a connection that is refused", () =>
    Effect.gen(function* () {
      const web = yield* Web
      yield* unit(web, "lazy.service", "ExecStart=/bin/sleep 600")
      yield* web.startJob("lazy.service")
      yield* web.waitForUnit("lazy")
      const refused = yield* Effect.flip(web.succeed("exec 3<>/dev/tcp/127.0.0.1/8081"))
      assert.include(refused.message, "Connection refused")
      assert.include(refused.message, "(lazy is a service of Type=simple, which is active before it listens")
      yield* web.stopJob("lazy.service")
    })
  )

  it.effect("say at the deadline what state they were in", () =>
    Effect.gen(function* () {
      const web = yield* Web
      yield* unit(web, "endless.service", "Type=oneshot\nExecStart=/bin/sleep 600")
      yield* web.succeed("systemctl start --no-block endless.service")
      const error = yield* Effect.flip(web.waitForUnit("endless.service", { timeout: "3 seconds" }))
      assert.strictEqual(error._tag, "WaitTimeout")
      assert.include(error.message, "activating")
      yield* web.succeed("systemctl stop endless.service")
    })
  )

  it.effect("are started and stopped, and their port with them", () =>
    Effect.gen(function* () {
      const web = yield* Web
      yield* web.stopJob("nginx.service")
      yield* web.waitForClosedPort(80)
      const opening = yield* Effect.forkChild(web.waitForOpenPort(80, "192.168.1.1", { timeout: "1 minute" }))
      assert.strictEqual((yield* web.systemctl("is-active nginx.service")).exitCode, 3)
      yield* web.startJob("nginx.service")
      yield* Fiber.join(opening)
      assert.strictEqual((yield* web.systemctl("is-active nginx.service")).stdout, "active\n")
      // What systemctl refuses is a result, not a failure.
      const refused = yield* web.systemctl("start no-such.service")
      assert.strictEqual(refused.exitCode, 5)
      assert.include(refused.stderr, "not found")
    })
  )

  it.effect("are refused under names that are patterns or none, and without a systemd user", () =>
    Effect.gen(function* () {
      const web = yield* Web
      for (const name of ["nginx*", "two words.service", "getty@.service", "a;b"]) {
        assert.strictEqual((yield* Effect.flip(web.waitForUnit(name)))._tag, "InvalidArgument")
        assert.strictEqual((yield* Effect.flip(web.getUnitInfo(name)))._tag, "InvalidArgument")
      }
      const property = yield* Effect.flip(web.getUnitProperty("nginx.service", "NoSuchProperty"))
      assert.strictEqual(property._tag, "InvalidArgument")
      const states = yield* Effect.flip(web.requireUnitState("nginx.service", "failed"))
      assert.include(states.message, "nginx.service is active (running); expected failed")
      const missing = yield* Effect.flip(web.startJob("nope.service"))
      assert.include(missing.message, "not found")
      for (const use of [
        web.waitForUnit("x.service", { user: "nobody-such" }),
        web.getUnitInfo("x.service", { user: "nobody-such" }),
        Stream.runDrain(web.journal({ user: "nobody-such" }))
      ]) {
        const error = yield* Effect.flip(
          use as Effect.Effect<unknown, { readonly _tag: string; readonly message: string }>
        )
        assert.strictEqual(error._tag, "CommandRejected")
        assert.include(error.message, "the user nobody-such does not exist")
      }
      const idle = yield* Effect.flip(web.waitForUnit("x.service", { user: "nobody", timeout: "2 seconds" }))
      assert.include(idle.message, "the service manager of nobody is not running: it starts when nobody logs in")
    })
  )

  it.effect("fail each method in its own way", () =>
    Effect.gen(function* () {
      const web = yield* Web
      const methods: Readonly<Record<string, (name: string, options?: { readonly user: string }) => Failing>> = {
        waitForUnit: (name, options) => web.waitForUnit(name, { ...options, timeout: "1 minute" }),
        getUnitInfo: web.getUnitInfo,
        getUnitProperty: (name, options) => web.getUnitProperty(name, "Id", options),
        requireUnitState: (name, options) => web.requireUnitState(name, "active", options),
        startJob: web.startJob,
        stopJob: web.stopJob,
        journal: (name, options) => Stream.runDrain(web.journal({ unit: name, follow: false, ...options }))
      }
      for (const [method, call] of Object.entries(methods)) {
        for (const name of ["two words.service", "nginx*", "", "a;b"]) {
          const error: object = yield* Effect.flip(call(name))
          assert.deepInclude(error, { _tag: "InvalidArgument", argument: "unit", value: name }, method)
        }
        const stranger: object = yield* Effect.flip(call("nginx.service", { user: "nobody-such" }))
        assert.deepInclude(stranger, { _tag: "CommandRejected", reason: "UnknownUser" }, method)
      }
      const stranger = yield* Effect.flip(web.systemctl("status", { user: "nobody-such" }))
      assert.deepInclude(stranger, { _tag: "CommandRejected", reason: "UnknownUser" })
      // A user without a manager.
      for (const method of ["getUnitInfo", "getUnitProperty", "requireUnitState", "startJob", "stopJob"] as const) {
        const error = yield* Effect.flip(methods[method]!("nginx.service", { user: "nobody" }))
        assert.strictEqual(error._tag, "CommandFailed", method)
        assert.include(error.message, "the service manager of nobody is not running: it starts when", method)
      }

      yield* unit(web, "wrong.service", "Type=oneshot\nExecStart=/bin/sh -c 'exit 7'")
      const start = yield* Effect.flip(web.startJob("wrong.service"))
      assert.deepInclude(start, { _tag: "CommandFailed", command: "systemctl start -- wrong.service" })
      assert.include(start.message, "Job for wrong.service failed")
      const stop = yield* Effect.flip(web.stopJob("nope.service"))
      assert.strictEqual(stop._tag, "CommandFailed")
      assert.include(stop.message, "nope.service not loaded")
      const state = yield* Effect.flip(web.requireUnitState("nginx.service", "running"))
      assert.deepInclude(state, { _tag: "InvalidArgument", argument: "state", value: "running" })
      const unknown = yield* Effect.flip(web.requireUnitState("nope.service"))
      assert.deepInclude(unknown, { _tag: "UnitFailed", loadState: "not-found" })
      yield* web.succeed("systemctl mask --runtime masked.service")
      const masked = yield* Effect.flip(web.waitForUnit("masked.service", { timeout: "1 minute" }))
      assert.deepInclude(masked, { _tag: "UnitFailed", loadState: "masked" })

      const reading = yield* Effect.forkChild(Effect.flip(Stream.runDrain(web.journal({ lines: 0 }))))
      yield* web.waitUntilSucceeds("kill $(pidof journalctl)", { timeout: "1 minute" })
      const ended = yield* Fiber.join(reading)
      assert.deepInclude(ended, { _tag: "CommandFailed", exitCode: 143 })
    })
  )

  it.effect("are waited for while systemd executes itself anew, without a message bus, and without a bridge", () =>
    Effect.gen(function* () {
      const web = yield* Web
      yield* unit(web, "wait@.service", "Type=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sleep 5")
      const wait = Effect.fnUntraced(function* (id: string, meanwhile: string) {
        yield* web.succeed(`systemctl start --no-block wait@${id}.service`)
        const waiting = yield* Effect.forkChild(web.waitForUnit(`wait@${id}.service`, { timeout: "2 minutes" }))
        yield* Effect.sleep("1 second")
        yield* web.succeed(meanwhile)
        yield* Fiber.join(waiting)
      })
      yield* wait("reexec", "systemctl daemon-reexec")
      yield* wait("reload", "systemctl daemon-reload")
      yield* wait("dbus", "systemctl stop dbus.socket dbus.service")
      yield* wait("killed", "kill $(pidof systemd-stdio-bridge)")
      yield* web.succeed("mv /usr/bin/systemd-stdio-bridge /tmp; kill $(pidof systemd-stdio-bridge) || true")
      yield* wait("loop", "true")
      const failed = yield* Effect.flip(web.waitForUnit("broken.service", { timeout: "2 minutes" }))
      assert.strictEqual(failed._tag, "UnitFailed")
      yield* web.succeed("mv /tmp/systemd-stdio-bridge /usr/bin; systemctl start dbus.socket")
    })
  )

  it.effect("have a journal that can be followed", () =>
    Effect.gen(function* () {
      const web = yield* Web
      const past = yield* Stream.runCollect(web.journal({ unit: "broken", follow: false }))
      assert.include(
        past.map(({ message }) => message),
        "cannot find the configuration"
      )
      const entry = past.find(({ message }) => message === "cannot find the configuration")
      assert.deepInclude(entry, { unit: "broken.service", identifier: "sh", priority: 6 })
      const next = yield* Effect.forkChild(
        web.journal({ lines: 50 }).pipe(
          Stream.filter(({ identifier }) => identifier === "the-test"),
          Stream.take(2),
          Stream.runCollect
        )
      )
      yield* Effect.sleep("2 seconds")
      yield* web.succeed('for i in 1 2; do echo "line $i of ü" | systemd-cat -t the-test -p err; done')
      assert.deepStrictEqual(
        (yield* Fiber.join(next)).map(({ message, priority }) => [message, priority]),
        [
          ["line 1 of ü", 3],
          ["line 2 of ü", 3]
        ]
      )
      assert.strictEqual((yield* Effect.flip(Stream.runDrain(web.journal({ unit: "a b" }))))._tag, "InvalidArgument")
      assert.strictEqual((yield* Effect.flip(Stream.runDrain(web.journal({ lines: -1 }))))._tag, "InvalidArgument")
    })
  )

  it.effect("shut the machine down in order, and end its journal", () =>
    Effect.gen(function* () {
      const web = yield* Web
      const journal = yield* Effect.forkChild(Stream.runCount(web.journal({ lines: 0 })))
      yield* Effect.sleep("1 second")
      yield* web.shutdown()
      yield* Fiber.join(journal)
      assert.isFalse(yield* web.isUp())
    })
  )
})
