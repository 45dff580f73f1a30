/** A Firecracker without a guest: it answers as 1.16.1 did when it ran, and its guest is what is typed on its console. */
import * as Fs from "node:fs"
import { type Answer, argument, guest, lines, missing, offerVsock, play, serve } from "../playedVmm.ts"

if (process.argv.includes("--version")) {
  process.stdout.write("Firecracker v1.16.1\n\nSupported snapshot data format versions: v10.0.0\n")
  process.exit(0)
}

const socket = argument("--api-sock")
if (Fs.existsSync(socket)) {
  process.stderr.write("Failed to open the API socket at: api.sock. Check that it is not already used.\n")
  process.exit(1)
}

const log = (line: string) => Fs.appendFileSync(argument("--log-path"), `2026-11-30T00:00:00 [vmtest:main] ${line}\n`)
const say = (line: string) => process.stdout.write(`${line}\r\n`)

/** The fields of all bodies that it looks at. */
interface Body {
  readonly kernel_image_path: string
  readonly initrd_path?: string
  readonly path_on_host: string
  readonly iface_id: string
  readonly uds_path: string
  readonly snapshot_path: string
  readonly mem_file_path: string
  readonly network_overrides?: ReadonlyArray<{ readonly iface_id: string }>
  readonly resume_vm?: boolean
  readonly state?: string
  readonly action_type?: string
}

interface Configuration {
  kernel?: string
  initrd?: string
  drives: Array<string>
  interfaces: Array<string>
  vsock?: string
}

let configuration: Configuration = { drives: [], interfaces: [] }
let state: "Not started" | "Running" | "Paused" = "Not started"
let saved = false

const done: Answer = { status: 204 }
const refuse = (fault_message: string): Answer => {
  log(`Received Error. Status code: 400 Bad Request. Message: ${fault_message}`)
  return { status: 400, body: { fault_message } }
}
/** What cannot be set again ends it. */
const fail = (fault_message: string): Answer => {
  process.stderr.write(`${fault_message}\n`)
  return { ...refuse(fault_message), end: 1 }
}

const begin = (): Answer => {
  state = "Running"
  say("[    0.000000] Linux version 6.1.0")
  if (play.print !== undefined) say(play.print)
  return done
}

const reset = (): void => {
  say("[   12.345678] reboot: Restarting system")
  log("Vmm is stopping.")
  setTimeout(() => process.exit(0), 20)
}

const start = (): Answer => {
  const { kernel } = configuration
  if (kernel === undefined) return refuse("Start microvm error: Cannot start microvm without kernel configuration.")
  const magic = Fs.readFileSync(kernel).subarray(0, 4).toString("latin1")
  if (magic !== "\x7fELF") {
    return refuse("Start microvm error: Kernel Loader: failed to load ELF kernel image: Invalid Elf magic number")
  }
  return begin()
}

const load = (body: Body): Answer => {
  if (state !== "Not started")
    return refuse(
      "Load snapshot error: Loading a microVM snapshot not allowed after configuring boot-specific resources."
    )
  const prefix = "Load snapshot error: Failed to restore from snapshot: "
  const gone = missing(body.snapshot_path)
  if (gone !== undefined)
    return fail(`${prefix}Failed to get snapshot state from file: Failed to open snapshot file: ${gone}`)
  const text = Fs.readFileSync(body.snapshot_path, "utf8")
  if (!text.startsWith("{"))
    return fail(
      `${prefix}Failed to get snapshot state from file: Failed to load snapshot state from file: CRC64 validation failed`
    )
  const loaded: Configuration = JSON.parse(text)
  for (const { iface_id } of body.network_overrides ?? []) {
    if (!loaded.interfaces.includes(iface_id)) return fail(`${prefix}Unknown Network Device.`)
  }
  const disk = loaded.drives.find((path) => missing(path) !== undefined)
  if (disk !== undefined)
    return fail(
      `${prefix}Failed to build microVM from snapshot: Virtio backend error: Error manipulating the backing file: ${missing(disk)} ${disk}`
    )
  try {
    offerVsock(loaded.vsock ?? "")
  } catch (error) {
    return fail(
      `${prefix}Failed to build microVM from snapshot: Error binding to the host-side Unix socket: ${(error as Error).message}`
    )
  }
  configuration = loaded
  return body.resume_vm === true ? begin() : done
}

const snapshot = (body: Body): Answer => {
  if (state !== "Paused")
    return refuse("Create snapshot error: Operation not allowed: save/restore unavailable while running")
  Fs.writeFileSync(body.snapshot_path, JSON.stringify(configuration))
  Fs.writeFileSync(body.mem_file_path, "memory")
  saved = true
  guest.hears = true
  return done
}

const change = ({ state: wanted }: Body): Answer => {
  if (state === "Not started") return refuse("The requested operation is not supported before starting the microVM.")
  if (wanted === "Paused") {
    state = "Paused"
    saved = false
    return done
  }
  // The bug of this version: connections of the host hang from now on.
  if (state === "Paused" && !saved) guest.hears = false
  state = "Running"
  return done
}

const configure = (request: string, body: Body): Answer => {
  if (state !== "Not started") return refuse("The requested operation is not supported after starting the microVM.")
  if (request === "PUT /boot-source") {
    const gone = missing(body.kernel_image_path)
    if (gone !== undefined) return refuse(`Boot source error: The kernel file cannot be opened: ${gone}`)
    const lost = missing(body.initrd_path)
    if (lost !== undefined)
      return refuse(
        `Boot source error: The initrd file cannot be opened due to invalid path or invalid permissions. ${lost}`
      )
    configuration.kernel = body.kernel_image_path
  }
  if (request.startsWith("PUT /drives/")) {
    const gone = missing(body.path_on_host)
    if (gone !== undefined)
      return refuse(
        `Drive config error: Unable to create the virtio block device: Virtio backend error: Error manipulating the backing file: ${gone} ${body.path_on_host}`
      )
    configuration.drives.push(body.path_on_host)
  }
  if (request.startsWith("PUT /network-interfaces/")) configuration.interfaces.push(body.iface_id)
  if (request === "PUT /vsock") {
    try {
      offerVsock(body.uds_path)
    } catch (error) {
      return fail(
        `Vsock config error: Cannot create backend for vsock device: Error binding to the host-side Unix socket: ${(error as Error).message}`
      )
    }
    configuration.vsock = body.uds_path
  }
  return done
}

serve(socket, (request, body: Body) => {
  switch (request) {
    case "GET /version":
      return { status: 200, body: { firecracker_version: "1.16.1" } }
    case "PATCH /vm":
      return change(body)
    case "PUT /snapshot/create":
      return snapshot(body)
    case "PUT /snapshot/load":
      return load(body)
    case "PUT /actions":
      if (body.action_type === "InstanceStart") return start()
      reset()
      return done
    default:
      return configure(request, body)
  }
})

// What the guest does with what is typed. It counts ticks, so that a test sees whether it stands still.
lines(process.stdin, (line) => {
  if (line === "reboot") return reset()
  if (line === "poweroff") return say("[   12.345678] reboot: System halted")
  if (line === "panic") {
    say("[   12.345678] Kernel panic - not syncing: sysrq triggered crash")
    return reset()
  }
  say(`typed ${line}`)
})
process.stdin.on("end", () => {})
log("Running Firecracker v1.16.1")
