import * as Fs from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import * as Image from "../src/images/Image.ts"
import { Machine, machines } from "../src/vitest.ts"
import * as Docs from "../test/docs/debianGuest.ts"

class Deb extends Machine<Deb>()("deb", { image: Image.debian(), memory: "512 MiB" }) {}

const soon = { timeout: "1 minute" } as const

machines(Deb)("a Debian guest", (it) => {
  it.effect(
    "has the commands, modules, services and settings that docs/debian-guest.md names, and not those that it excludes",
    () =>
      Effect.gen(function* () {
        const deb = yield* Deb
        /** The words that a command says of each, such as `bash: yes`. */
        const answers = (all: ReadonlyArray<string>, command: string) =>
          Effect.map(
            deb.succeed(`for one in ${all.join(" ")}; do ${command} && echo "$one yes" || echo "$one no"; done`),
            (said) => said.trim().split("\n")
          )
        for (const [label, answer] of [
          ["that are there", "yes"],
          ["that are not", "no"]
        ] as const) {
          for (const [kind, command] of [
            ["commands", "command -v $one >/dev/null"],
            ["modules", "modprobe --dry-run --quiet $one"]
          ] as const) {
            const all = Docs.row(`${kind} ${label}`)
            assert.isAbove(all.length, 10)
            assert.deepStrictEqual(
              yield* answers(all, command),
              all.map((one) => `${one} ${answer}`)
            )
          }
        }
        yield* deb.succeed("systemctl is-system-running --wait")
        const running =
          "systemctl list-units --type=service,timer --state=running,waiting --no-legend --plain | awk '{print $1}'"
        assert.sameMembers((yield* deb.succeed(running)).trim().split("\n"), [
          ...Docs.row("services that run").map((name) => `${name}.service`),
          ...Docs.row("timers that run").map((name) => `${name}.timer`)
        ])
        assert.strictEqual(yield* deb.succeed("ss -lntuH"), "")
        assert.strictEqual(
          yield* deb.succeed("echo $LANG; locale -a | wc -l; date +%Z; cat /etc/resolv.conf"),
          "C.UTF-8\n3\nUTC\n"
        )
        assert.strictEqual(
          yield* deb.succeed(
            "stat -f -c %T / /run/log/journal /tmp; swapon --noheadings; find /usr/share/doc /usr/share/man -type f"
          ),
          "overlayfs\ntmpfs\noverlayfs\n"
        )
        assert.strictEqual(
          yield* deb.succeed("getent passwd | awk -F: '$3 >= 1000 && $3 < 65534 || $7 == \"/bin/bash\"'"),
          "root:x:0:0:root:/root:/bin/bash\n"
        )
        for (const parameter of Docs.paragraph("Its command line is")[0]?.split(" ") ?? []) {
          assert.include((yield* deb.succeed("cat /proc/cmdline")).trim().split(" "), parameter)
        }
      })
  )

  it.effect("loses nc, timeout and base64, which none of the tests below needs", () =>
    Effect.gen(function* () {
      const deb = yield* Deb
      yield* deb.succeed("for tool in nc timeout base64; do rm -f $(type -aP $tool); done")
      for (const tool of ["nc", "timeout", "base64"]) {
        assert.strictEqual((yield* deb.execute(tool)).exitCode, 127, tool)
      }
    })
  )

  it.effect("ports are waited for, here and by connecting, until they open and until they close", () =>
    Effect.gen(function* () {
      const deb = yield* Deb
      for (const address of [undefined, "deb", "2001:db8:1::1"]) {
        const opening = yield* Effect.forkChild(deb.waitForOpenPort(8000, address, soon))
        const listener = yield* deb.spawn(
          "perl -MSocket -e 'socket(S, AF_INET6, SOCK_STREAM, 0); setsockopt(S, SOL_SOCKET, SO_REUSEADDR, 1); bind(S, pack_sockaddr_in6(8000, Socket::IN6ADDR_ANY)) or die $!; listen(S, 5); sleep 600'"
        )
        yield* Fiber.join(opening)
        const closing = yield* Effect.forkChild(deb.waitForClosedPort(8000, address, soon))
        yield* listener.signal("KILL")
        yield* Fiber.join(closing)
      }
    })
  )

  it.effect("UDP ports are waited for, and ports of either kind in the network namespaces of other processes", () =>
    Effect.gen(function* () {
      const deb = yield* Deb
      yield* deb.writeFile(
        "/tmp/ports.pl",
        `use Socket; socket(U, PF_INET, SOCK_DGRAM, 0); bind(U, sockaddr_in(5353, inet_aton("127.0.0.1"))) or die $!;
socket(T, PF_INET, SOCK_STREAM, 0); bind(T, sockaddr_in(5354, INADDR_ANY)) or die $!; listen(T, 5) or die $!; sleep 600`
      )
      const udp = { ...soon, protocol: "udp" } as const
      const short = { timeout: "1 second" } as const
      const own = yield* deb.spawn("perl /tmp/ports.pl")
      yield* deb.waitForOpenPort(5353, udp)
      yield* deb.waitForOpenPort(5353, "localhost", udp)
      const closed = yield* Effect.flip(deb.waitForClosedPort(5353, { ...udp, ...short }))
      assert.match(
        closed.message,
        /deb: waited 1s.* for UDP port 5353 to be closed; last seen: bound: .*127\.0\.0\.1:5353/
      )
      yield* own.signal("KILL")
      yield* deb.waitForClosedPort(5353, udp)

      yield* deb.succeed("systemd-run --unit=apart --property=PrivateNetwork=yes perl /tmp/ports.pl")
      yield* deb.waitForOpenPort(5354, { ...soon, namespaces: "all" })
      yield* deb.waitForOpenPort(5353, { ...udp, namespaces: "all" })
      const apart = yield* Effect.flip(deb.waitForOpenPort(5354, short))
      assert.match(
        apart.message,
        /port 5354 is open in the network namespace of perl \(process \d+\); namespaces: "all" counts it/
      )
      const closing = yield* Effect.forkChild(deb.waitForClosedPort(5354, { ...soon, namespaces: "all" }))
      yield* deb.succeed("systemctl stop apart")
      yield* Fiber.join(closing)
    })
  )

  it.effect("a missing program is told without a file of vmtest's", () =>
    Effect.gen(function* () {
      const { exitCode, stderr } = yield* (yield* Deb).execute("\nnothing-of-that-name")
      assert.strictEqual(exitCode, 127)
      assert.match(stderr, /^bash: (line \d+: )?nothing-of-that-name: command not found\n$/)
    })
  )

  it.effect(
    "Unix sockets are waited for: stream, datagram, sequenced packets, abstract, through links, bound by a relative name",
    () =>
      Effect.gen(function* () {
        const deb = yield* Deb
        yield* deb.waitForOpenUnixSocket("/run/dbus/system_bus_socket", soon)
        yield* deb.waitForOpenUnixSocket("/var/run/dbus/system_bus_socket", soon)
        yield* deb.waitForOpenUnixSocket("/dev/log", { ...soon, type: "datagram" })
        yield* deb.waitForOpenUnixSocket("/run/udev/control", { ...soon, type: "seqpacket" })
        for (const [address, bind, type] of [
          ["/tmp/s p/a 'sock", "chdir '/tmp/s p'; $a = \"a 'sock\"", "stream"],
          ["@hidden", '$a = "\\0hidden"', "stream"],
          ["/tmp/d", '$a = "/tmp/d"', "datagram"]
        ] as const) {
          const opening = yield* Effect.forkChild(deb.waitForOpenUnixSocket(address, { ...soon, type }))
          yield* deb.writeFile(
            "/tmp/listen.pl",
            `use Socket; ${bind}; socket(S, AF_UNIX, ${type === "stream" ? "SOCK_STREAM" : "SOCK_DGRAM"}, 0) or die;
bind(S, pack_sockaddr_un($a)) or die $!; ${type === "stream" ? "listen(S, 1) or die;" : ""} sleep 600`
          )
          yield* deb.succeed("mkdir -p '/tmp/s p'")
          const listener = yield* deb.spawn("perl /tmp/listen.pl")
          yield* Fiber.join(opening)
          yield* listener.signal("KILL")
          yield* listener.wait(soon)
          const gone = yield* Effect.flip(deb.waitForOpenUnixSocket(address, { type, timeout: "1 second" }))
          assert.strictEqual(gone._tag, "WaitTimeout")
        }
        // A service with a network of its own, whose sockets are in a list of their own.
        yield* deb.writeFile(
          "/tmp/listen.pl",
          'use Socket; socket(S, AF_UNIX, SOCK_STREAM, 0); bind(S, pack_sockaddr_un("/run/private")); listen(S, 1); sleep 600'
        )
        yield* deb.succeed("systemd-run --quiet --unit=private -p PrivateNetwork=yes perl /tmp/listen.pl")
        yield* deb.waitForOpenUnixSocket("/run/private", soon)
        yield* deb.succeed("systemctl stop private")
        const stopped = yield* Effect.flip(deb.waitForOpenUnixSocket("/run/private", { timeout: "1 second" }))
        assert.strictEqual(stopped._tag, "WaitTimeout")
      })
  )

  it.effect("trees are copied both ways, and files that are written and read hold any bytes", () =>
    Effect.gen(function* () {
      const deb = yield* Deb
      const base = Fs.mkdtempSync(join(tmpdir(), "vmtest-deb-"))
      yield* Effect.addFinalizer(() => Effect.sync(() => Fs.rmSync(base, { recursive: true })))
      Fs.mkdirSync(join(base, "tree", "empty"), { recursive: true })
      Fs.writeFileSync(join(base, "tree", "run"), "#!/bin/sh\necho ran\n", { mode: 0o750 })
      Fs.symlinkSync("run", join(base, "tree", "link"))
      yield* deb.copyFromHost(join(base, "tree"), "/srv/tree")
      assert.strictEqual(yield* deb.succeed("/srv/tree/link; stat -c '%a %U' /srv/tree/run"), "ran\n750 root\n")
      // Modes that only root could give to the host, and a log that grows while it is copied.
      yield* deb.succeed(
        "chmod 4755 /srv/tree/run; mkdir -p /srv/tree/sub; touch /srv/tree/sub/f; chmod 0500 /srv/tree/sub"
      )
      const back = yield* deb.copyFromMachine("/srv/tree", "test-machine-debian")
      yield* Effect.addFinalizer(() => Effect.sync(() => Fs.rmSync(join(back, ".."), { recursive: true })))
      assert.strictEqual(Fs.statSync(join(back, "run")).mode & 0o7777, 0o755)
      assert.strictEqual(Fs.statSync(join(back, "sub")).mode & 0o777, 0o500)
      assert.isTrue(Fs.lstatSync(join(back, "link")).isSymbolicLink())
      const release = yield* deb.copyFromMachine("/etc/os-release", "test-machine-debian")
      assert.include(Fs.readFileSync(release, "utf8"), "Debian")
      // What a kernel shows as files says that it is empty, or a page long.
      for (const [file, text] of [
        ["/proc/meminfo", "MemTotal"],
        ["/proc/self/status", "Name:"],
        ["/proc/mounts", "/proc proc"],
        ["/etc/mtab", "/proc proc"]
      ] as const) {
        assert.include(Fs.readFileSync(yield* deb.copyFromMachine(file, "test-machine-debian"), "utf8"), text)
      }
      const queue = yield* deb.copyFromMachine("/sys/block/vda/queue", "test-machine-debian")
      assert.match(Fs.readFileSync(join(queue, "logical_block_size"), "utf8"), /^\d+\n$/)
      // Laid over the root of a guest whose /lib is a link, by a tree that only its owner may enter.
      Fs.mkdirSync(join(base, "overlay", "lib"), { recursive: true, mode: 0o700 })
      Fs.writeFileSync(join(base, "overlay", "lib", "mine"), "laid over")
      Fs.mkdirSync(join(base, "overlay", "tmp"), { mode: 0o700 })
      yield* deb.copyFromHost(join(base, "overlay"), "/")
      assert.strictEqual(
        yield* deb.succeed("stat -c %a / /tmp /usr/lib; readlink /lib; cat /usr/lib/mine"),
        "755\n1777\n755\nusr/lib\nlaid over"
      )
      const device = yield* Effect.flip(deb.copyFromMachine("/dev/null", "test-machine-debian"))
      assert.strictEqual(device._tag, "HostFileError")
      const bytes = Uint8Array.from({ length: 100_000 }, (_, index) => (index * 31) % 256)
      yield* deb.writeFile("/srv/new/bytes", bytes, { mode: "0600" })
      assert.deepStrictEqual(yield* deb.readFileBytes("/srv/new/bytes"), bytes)
      assert.strictEqual(yield* deb.succeed("stat -c %a /srv/new/bytes"), "600\n")
      const full = yield* Effect.flip(deb.writeFile("/dev/full", "x"))
      assert.include(full.message, "No space left")
    })
  )

  it.effect("copies stay inside the output folder, whatever the guest's tar sends", () =>
    Effect.gen(function* () {
      const deb = yield* Deb
      const hostile = join("vmtest-output", "a Debian guest", "test-machine-hostile")
      const outside = Fs.mkdtempSync(join(tmpdir(), "vmtest-outside-"))
      yield* Effect.addFinalizer(() => Effect.sync(() => Fs.rmSync(outside, { recursive: true })))
      // An archive with a link to elsewhere, and then a file behind that link.
      yield* deb.succeed(
        "mkdir -p /tmp/h/door /tmp/bin && cd /tmp/h && echo evil > door/evil && tar -cf /tmp/2.tar door/evil && rm -r door",
        `cd /tmp/h && ln -s ${outside} door && tar -cf /tmp/1.tar door`,
        "{ head -c 512 /tmp/1.tar; cat /tmp/2.tar; } > /tmp/evil.tar",
        "cd /tmp/h && tar -cf /tmp/link.tar ./door",
        "mkdir -p /usr/local/sbin && printf '#!/bin/sh\\ncat /tmp/evil.tar\\n' > /usr/local/sbin/tar && chmod +x /usr/local/sbin/tar"
      )
      yield* Effect.addFinalizer(() => Effect.sync(() => Fs.rmSync(hostile, { recursive: true })))
      const through = yield* Effect.flip(deb.copyFromMachine("/etc/hosts", "test-machine-hostile"))
      assert.strictEqual(through._tag, "HostFileError")
      assert.deepStrictEqual(Fs.readdirSync(outside), [])
      assert.deepStrictEqual(Fs.readdirSync(hostile), [])
      yield* deb.succeed("mv /tmp/link.tar /tmp/evil.tar")
      const error = yield* Effect.flip(deb.copyFromMachine("/etc/hosts", "test-machine-hostile"))
      assert.include(error.message, "the guest sent a symbolic link")
      yield* deb.succeed("rm /usr/local/sbin/tar")
    })
  )

  it.effect("a command beside the test is ended by signals, its children too", () =>
    Effect.gen(function* () {
      const deb = yield* Deb
      for (const [signal, code] of [
        ["HUP", 129],
        ["TERM", 143],
        ["KILL", 137]
      ] as const) {
        const sleeper = yield* deb.spawn("echo ready; sleep 600 | cat")
        yield* Stream.runHead(sleeper.stdout)
        yield* sleeper.signal(signal)
        assert.strictEqual(yield* sleeper.wait(soon), code)
      }
      yield* deb.waitUntilFails("pidof sleep", soon)
    })
  )

  it.effect("goes from its initrd to the real root, and is ready there under the same name", () =>
    Effect.gen(function* () {
      const deb = yield* Deb
      assert.strictEqual((yield* Effect.flip(deb.switchRoot()))._tag, "NotInInitrd")
      // The running system becomes what an initrd is to systemd: a root that says so, and another root under /sysroot.
      yield* deb.succeed(
        "touch /etc/initrd-release",
        "mkdir -p /sysroot /run/next/upper /run/next/work",
        "mount -t overlay overlay -o lowerdir=/,upperdir=/run/next/upper,workdir=/run/next/work /sysroot",
        "rm /sysroot/etc/initrd-release; echo second stage > /sysroot/etc/stage",
        "systemctl mask --runtime initrd-cleanup.service initrd-parse-etc.service initrd-udevadm-cleanup-db.service",
        "systemctl daemon-reexec",
        "systemctl start initrd.target"
      )
      yield* deb.fail("test -e /etc/stage")
      const waiting = yield* Effect.forkChild(Effect.flip(deb.succeed("sleep 600")))
      yield* deb.switchRoot()
      assert.strictEqual(yield* deb.succeed("cat /etc/stage; hostname"), "second stage\ndeb\n")
      yield* deb.fail("test -e /etc/initrd-release")
      yield* Fiber.join(waiting)
    })
  )
})
