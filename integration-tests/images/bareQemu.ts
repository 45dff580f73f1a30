/** The smallest QEMU that can boot an image and talk to its shell: no code of ours between the image and the test. */
import * as Fs from "node:fs"
import * as Net from "node:net"
import * as Os from "node:os"
import * as Path from "node:path"
import * as Effect from "effect/Effect"
import * as HostProcess from "../../src/host/HostProcess.ts"
import type { BootImage } from "../../src/images/BootImage.ts"

/** Boots it; gives what runs one line of shell and returns all it said. Everything ends with the scope. */
export const boot = Effect.fnUntraced(function* (image: BootImage) {
  const folder = yield* Effect.acquireRelease(
    Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "vmtest-qemu-"))),
    (path) => Effect.sync(() => Fs.rmSync(path, { recursive: true, force: true }))
  )
  const [port, qmp, log] = ["port", "qmp", "console"].map((name) => Path.join(folder, name)) as [string, string, string]
  const qemu = yield* HostProcess.spawn({
    command: "qemu-system-x86_64",
    args: [
      ...["-machine", "q35", "-accel", "tcg", "-m", "768", "-nodefaults", "-display", "none", "-no-reboot"],
      ...["-kernel", image.kernel, "-initrd", image.initrd, "-append", `${image.cmdline} console=ttyS0`],
      ...["-serial", `file:${log}`, "-qmp", `unix:${qmp},server=on,wait=off`],
      ...["-device", "virtio-serial-pci", "-chardev", `socket,id=shell,path=${port},server=on,wait=off`],
      ...["-device", "virtserialport,nr=1,chardev=shell,name=vmtest.0", "-device", "virtio-rng-pci"],
      ...(image.root === undefined
        ? []
        : [
            "-drive",
            `file=${image.root},if=none,id=root,format=raw,readonly=on`,
            "-device",
            "virtio-blk-pci,drive=root"
          ])
    ],
    grace: 0
  })
  const text = () => (Fs.existsSync(log) ? Fs.readFileSync(log, "utf8").slice(-2000) : "")
  while (!Fs.existsSync(port)) yield* Effect.sleep("10 millis")
  const socket = yield* Effect.acquireRelease(
    Effect.sync(() => Net.connect(port)),
    (open) => Effect.sync(() => open.destroy())
  )
  let heard = ""
  socket.on("data", (data) => {
    heard += data.toString()
  })
  const until = (mark: string) =>
    Effect.gen(function* () {
      while (!heard.includes(mark)) yield* Effect.sleep("5 millis")
      const said = heard.slice(0, heard.indexOf(mark))
      heard = heard.slice(heard.indexOf(mark) + mark.length)
      return said
    }).pipe(
      Effect.timeoutOrElse({
        duration: "3 minutes",
        orElse: () =>
          Effect.die(new Error(`no ${JSON.stringify(mark)} in ${JSON.stringify(heard)}; console:\n${text()}`))
      })
    )
  yield* until("vmtest: shell ready\n")
  return {
    run: (line: string) =>
      Effect.suspend(() => {
        socket.write(`${line}\necho "<done>"\n`)
        return until("<done>\n")
      }),
    /** Writes without waiting for an answer. */
    type: (line: string) => Effect.sync(() => socket.write(`${line}\n`)),
    ready: until("vmtest: shell ready\n"),
    powerButton: Effect.sync(() => {
      const monitor = Net.connect(qmp)
      monitor.on("data", () => {})
      monitor.end('{"execute":"qmp_capabilities"}{"execute":"system_powerdown"}')
    }),
    exited: qemu.exited
  }
})
