/** A Cloud Hypervisor without a guest: it answers as 53.0 did when it ran, and its guest is what is typed on its console. */
import * as Fs from "node:fs"
import * as Net from "node:net"
import { type Answer, argument, lines, missing, offerVsock, play, serve } from "../playedVmm.ts"

if (process.argv.includes("--version")) {
  process.stdout.write("cloud-hypervisor v53.0\nMigration Protocol Versions: 0\n")
  process.exit(0)
}

const socket = argument("--api-socket").replace("path=", "")
const monitor = Number(argument("--event-monitor").replace("fd=", ""))

interface Configuration {
  readonly payload: { readonly kernel: string; readonly initramfs?: string }
  readonly disks?: ReadonlyArray<{ readonly path: string }>
  readonly net?: ReadonlyArray<{ readonly id: string; readonly tap: string; readonly host_mac?: string }>
  readonly vsock: { readonly socket: string }
  readonly serial: { readonly socket: string }
}

interface Body extends Configuration {
  readonly destination_url: string
  readonly source_url: string
}

let configuration: Configuration | undefined
let state: "none" | "Created" | "Running" | "Paused" = "none"
let console: Net.Server | undefined
let client: Net.Socket | undefined
let unread = ""

const event = (source: string, name: string) =>
  Fs.writeSync(
    monitor,
    `${JSON.stringify({ timestamp: { secs: 0, nanos: 1 }, source, event: name, properties: null }, null, 2)}\n\n`
  )

/** How many bytes its socket takes when nobody reads: it writes them one by one, and each takes a buffer of its own. */
const mostQueued = 278

/** What the socket does not take stays until it says something else, or another client comes. */
const say = (line: string) => {
  unread += `${line}\r\n`
  client?.write(unread.slice(0, mostQueued))
  if (client !== undefined) unread = unread.slice(mostQueued)
}

const end = (): void => {
  for (const path of [socket, configuration?.vsock.socket ?? "", configuration?.serial.socket ?? ""]) {
    Fs.rmSync(path, { force: true })
  }
  process.exit(0)
}

const powerOff = (): void => {
  say("[   12.345678] reboot: Power down")
  event("vm", "shutdown")
  event("vmm", "shutdown")
  setTimeout(end, 20)
}

/** What it does when KVM no longer runs its guest. */
const failProcessor = (): void => {
  process.stderr.write(
    "cloud-hypervisor: 1.0s: <vcpu0> ERROR:vmm/src/cpu.rs:1460 -- VCPU generated error: VcpuRun(Failed to run vcpu\n\n" +
      "Caused by:\n    Unexpected exit reason on vcpu run: InternalError\n\nStack backtrace:\n   0: <unknown>\n"
  )
  event("vm", "shutdown")
  setTimeout(end, 20)
}

const typed = (line: string): void => {
  if (line === "panic") say("[   12.345678] Kernel panic - not syncing: sysrq triggered crash")
  if (line === "reboot" || line === "panic") reboot()
  else if (line === "poweroff") powerOff()
  else if (line === "fail") failProcessor()
  else if (line === "flood") say(`${"flood ".repeat(100)}ebbs`)
  else say(line === "halt" ? "[   12.345678] Kernel panic - not syncing: for ever" : `typed ${line}`)
}

/** The serial socket, which is another one after each reboot. */
const offerSerial = (path: string): void => {
  if (Fs.existsSync(path)) throw new Error("Address already in use (os error 98)")
  console = Net.createServer((peer) => {
    client?.end()
    client = peer
    peer.on("error", () => {})
    peer.write(unread)
    unread = ""
    lines(peer, typed)
  })
  console.listen(path)
}

const begin = (made: Configuration): void => {
  offerSerial(made.serial.socket)
  say("[    0.000000] Linux version 6.1.0")
  if (play.print !== undefined) say(play.print)
}

const reboot = (): void => {
  event("vm", "rebooting")
  client?.end()
  client = undefined
  console?.close()
  Fs.rmSync(configuration?.serial.socket ?? "", { force: true })
  setTimeout(() => {
    if (configuration !== undefined) begin(configuration)
    event("vm", "rebooted")
  }, 20)
}

const done: Answer = { status: 204 }
const refuse = (status: number, ...words: ReadonlyArray<string>): Answer => ({
  status,
  body: ["Error from API", ...words]
})

const boot = (): Answer => {
  if (configuration === undefined) return refuse(404, "The VM could not boot", "VM config is missing")
  event("vm", "booting")
  const kernel = missing(configuration.payload.kernel)
  if (kernel !== undefined) return refuse(500, "The VM could not boot", "Cannot open kernel file", kernel)
  const disk = configuration.disks?.find(({ path }) => missing(path) !== undefined)
  if (disk !== undefined)
    return refuse(
      500,
      "The VM could not boot",
      "Error from device manager",
      `Disk ${disk.path}`,
      "No such file or directory (os error 2)"
    )
  try {
    offerVsock(configuration.vsock.socket)
    begin(configuration)
  } catch (error) {
    return refuse(500, "The VM could not boot", "Error from device manager", (error as Error).message)
  }
  state = "Running"
  event("vm", "booted")
  return done
}

const restore = ({ source_url }: Body): Answer => {
  if (configuration !== undefined) return refuse(500, "The VM could not be restored", "VM is already created")
  const folder = source_url.replace("file://", "")
  for (const name of ["config.json", "state.json", "memory-ranges"]) {
    const gone = missing(`${folder}/${name}`)
    if (gone !== undefined) return refuse(500, "The VM could not be restored", "Error opening snapshot file", gone)
  }
  if (!Fs.readFileSync(`${folder}/state.json`, "utf8").startsWith("{")) {
    return refuse(
      500,
      "The VM could not be restored",
      "Failed to deserialize JSON",
      "expected value at line 1 column 1"
    )
  }
  const made: Configuration = JSON.parse(Fs.readFileSync(`${folder}/config.json`, "utf8"))
  try {
    offerVsock(made.vsock.socket)
    begin(made)
  } catch (error) {
    return refuse(500, "The VM could not be restored", "Error from device manager", (error as Error).message)
  }
  configuration = made
  state = "Paused"
  event("vm", "restored")
  return done
}

const snapshot = ({ destination_url }: Body): Answer => {
  if (state !== "Paused")
    return refuse(500, "The VM could not be snapshotted", "Snapshotting is only possible when paused")
  const folder = destination_url.replace("file://", "")
  const net = configuration?.net?.map((card) => ({ ...card, host_mac: "aa:bb:cc:dd:ee:ff" }))
  Fs.writeFileSync(`${folder}/config.json`, JSON.stringify({ ...configuration, net }))
  Fs.writeFileSync(`${folder}/state.json`, "{}")
  Fs.writeFileSync(`${folder}/memory-ranges`, "memory")
  return done
}

const change = (from: "Running" | "Paused", to: "Running" | "Paused", what: string): Answer => {
  if (state !== from) return refuse(500, what, `Invalid transition: InvalidStateTransition(${state}, ${to})`)
  state = to
  return done
}

event("vmm", "starting")

serve(socket, (request, body: Body) => {
  switch (request.replace("/api/v1/", "")) {
    case "GET vmm.ping":
      return { status: 200, body: { build_version: "v53.0", version: "53.0.0", pid: process.pid, features: [] } }
    case "PUT vm.create":
      configuration = body
      state = "Created"
      return done
    case "PUT vm.boot":
      return boot()
    case "PUT vm.pause":
      return change("Running", "Paused", "The VM could not be paused")
    case "PUT vm.resume":
      return change("Paused", "Running", "The VM could not be resumed")
    case "PUT vm.reboot":
      reboot()
      return done
    case "PUT vm.power-button":
      powerOff()
      return done
    case "PUT vm.snapshot":
      return snapshot(body)
    case "PUT vm.restore":
      return restore(body)
    default:
      return { status: 404, body: ["Not Found"] }
  }
})
