/** Where programs are, and which Debian package brings the ones vmtest uses. */
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Result from "effect/Result"

const packages: Readonly<Record<string, string>> = {
  "qemu-system-x86_64": "qemu-system-x86",
  "qemu-img": "qemu-utils",
  "qemu-nbd": "qemu-utils",
  vde_switch: "vde2",
  vde_plug: "vde2",
  setpriv: "util-linux",
  unshare: "util-linux",
  nsenter: "util-linux",
  ip: "iproute2",
  tc: "iproute2",
  nft: "nftables",
  flock: "util-linux",
  mkfifo: "coreutils",
  "mkfs.erofs": "erofs-utils",
  "dump.erofs": "erofs-utils",
  "fsck.erofs": "erofs-utils",
  busybox: "busybox-static",
  newuidmap: "uidmap",
  "apt-get": "apt",
  "apt-config": "apt",
  "dpkg-deb": "dpkg",
  perl: "perl-base",
  xz: "xz-utils",
  tesseract: "tesseract-ocr",
  ffmpeg: "ffmpeg"
}

/** Programs that Debian 12 has no package of, and where they come from. */
const elsewhere: Readonly<Record<string, string>> = {
  firecracker: "install a release of github.com/firecracker-microvm/firecracker",
  jailer: "install a release of github.com/firecracker-microvm/firecracker",
  "cloud-hypervisor": "install a release of github.com/cloud-hypervisor/cloud-hypervisor",
  "vhost-device-vsock": "cargo install vhost-device-vsock"
}

/** The package a program comes in; a program not in the table is taken to be named as its package. Empty if Debian 12 has no package of it. */
export const packageOf = (tool: string): string => {
  const name = Path.basename(tool)
  return name in elsewhere ? "" : (packages[name] ?? name)
}

/** What installs a program. */
export const installOf = (tool: string, from: string): string =>
  from === "" ? (elsewhere[Path.basename(tool)] ?? "install it") : `apt-get install ${from}`

/** A folder of the PATH that this user may not enter has no programs for them. */
const runnable = (path: string): boolean => {
  const stat = Result.try(() => Fs.statSync(path))
  return Result.isSuccess(stat) && stat.success.isFile() && (stat.success.mode & 0o111) !== 0
}

/** System tools such as mkfs live in the sbin folders, which an ordinary user's PATH leaves out. */
const fallback = "/usr/local/sbin:/usr/sbin:/sbin"

/** The full path of a tool; `path` is a PATH. A tool with a slash is taken as it is. */
export const findTool = (tool: string, path: string | undefined): string | undefined => {
  if (tool.includes("/")) return runnable(tool) ? tool : undefined
  return `${path ?? "/usr/bin:/bin"}:${fallback}`
    .split(":")
    .filter((folder) => folder !== "")
    .map((folder) => Path.join(folder, tool))
    .find(runnable)
}
