/**
 * Firecracker's HTTP interface: the requests that vmtest makes, as its published description (`src/firecracker/swagger/firecracker.yaml`) has them.
 *
 * Firecracker refuses fields that it does not know, so a field that a later version added is only sent where it is needed.
 */
import * as Schema from "effect/Schema"
import type { Request } from "../../transport/RestApi.ts"
import { wordsIn } from "../../transport/RestApi.ts"

export const MachineConfiguration = Schema.Struct({
  vcpu_count: Schema.Int,
  mem_size_mib: Schema.Int,
  huge_pages: Schema.optionalKey(Schema.Literal("2M"))
})

export const Balloon = Schema.Struct({ amount_mib: Schema.Int, deflate_on_oom: Schema.Literal(true) })

export const BootSource = Schema.Struct({
  kernel_image_path: Schema.String,
  initrd_path: Schema.optionalKey(Schema.String),
  boot_args: Schema.String
})

export const Drive = Schema.Struct({
  drive_id: Schema.String,
  path_on_host: Schema.String,
  /** With true, Firecracker puts its own `root=` on the kernel's command line. */
  is_root_device: Schema.Literal(false),
  is_read_only: Schema.Boolean
})

export const NetworkInterface = Schema.Struct({
  iface_id: Schema.String,
  host_dev_name: Schema.String,
  guest_mac: Schema.String,
  mtu: Schema.optionalKey(Schema.Int)
})

export const Vsock = Schema.Struct({ guest_cid: Schema.Int, uds_path: Schema.String })

export const EntropyDevice = Schema.Struct({})

export const InstanceActionInfo = Schema.Struct({ action_type: Schema.Literals(["InstanceStart", "SendCtrlAltDel"]) })

export const Vm = Schema.Struct({ state: Schema.Literals(["Paused", "Resumed"]) })

export const SnapshotCreateParams = Schema.Struct({
  snapshot_type: Schema.Literal("Full"),
  snapshot_path: Schema.String,
  mem_file_path: Schema.String
})

export const MemoryBackend = Schema.Struct({ backend_type: Schema.Literal("File"), backend_path: Schema.String })

export const NetworkOverride = Schema.Struct({ iface_id: Schema.String, host_dev_name: Schema.String })

export const SnapshotLoadParams = Schema.Struct({
  snapshot_path: Schema.String,
  mem_backend: MemoryBackend,
  network_overrides: Schema.Array(NetworkOverride),
  resume_vm: Schema.Boolean
})

export const FirecrackerVersion = Schema.Struct({ firecracker_version: Schema.String })

/** What a refusal says: `{ "fault_message": "…" }`. */
export const explain = wordsIn("fault_message")

const put = (path: string, body: object): Request => ({ method: "PUT", path, body })

export const version: Request<typeof FirecrackerVersion.Type> = {
  method: "GET",
  path: "/version",
  answer: FirecrackerVersion
}

export const machineConfig = (body: typeof MachineConfiguration.Type): Request => put("/machine-config", body)
export const balloon = (body: typeof Balloon.Type): Request => put("/balloon", body)
export const bootSource = (body: typeof BootSource.Type): Request => put("/boot-source", body)
export const drive = (body: typeof Drive.Type): Request => put(`/drives/${body.drive_id}`, body)
export const networkInterface = (body: typeof NetworkInterface.Type): Request =>
  put(`/network-interfaces/${body.iface_id}`, body)
export const vsock = (body: typeof Vsock.Type): Request => put("/vsock", body)
export const entropy: Request = put("/entropy", {})
export const action = (action_type: (typeof InstanceActionInfo.Type)["action_type"]): Request =>
  put("/actions", { action_type } satisfies typeof InstanceActionInfo.Type)
export const state = (state: (typeof Vm.Type)["state"]): Request => ({
  method: "PATCH",
  path: "/vm",
  body: { state } satisfies typeof Vm.Type
})
export const createSnapshot = (body: typeof SnapshotCreateParams.Type): Request => put("/snapshot/create", body)
export const loadSnapshot = (body: typeof SnapshotLoadParams.Type): Request => put("/snapshot/load", body)
