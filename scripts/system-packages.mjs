// What must be on the machine: the Debian package, what it is for, and how to see that it is there without asking dpkg.
import { hasFile, hasProgram } from "./lib.mjs"

/** To run vmtest. */
export const runtime = [
  { name: "qemu-system-x86", why: "the hypervisor", present: () => hasProgram("qemu-system-x86_64") },
  { name: "qemu-utils", why: "disk images", present: () => hasProgram("qemu-img") },
  { name: "vde2", why: "networks between machines", present: () => hasProgram("vde_switch") },
  { name: "mmdebstrap", why: "Debian images", present: () => hasProgram("mmdebstrap") },
  { name: "erofs-utils", why: "Debian images", present: () => hasProgram("mkfs.erofs") },
  {
    name: "busybox-static",
    why: "the first program of a guest",
    present: () => hasProgram("busybox")
  },
  { name: "cpio", why: "initramfs archives", present: () => hasProgram("cpio") },
  { name: "zstd", why: "initramfs archives", present: () => hasProgram("zstd") },
  {
    name: "debian-archive-keyring",
    why: "to verify what Debian images are made of",
    present: () =>
      hasFile("/usr/share/keyrings/debian-archive-keyring.gpg", "/usr/share/keyrings/debian-archive-keyring.pgp")
  },
  { name: "uidmap", why: "Debian images without root rights", present: () => hasProgram("newuidmap") }
]

/** To run the tests as well. */
export const testing = [
  { name: "erlang-base", why: "the actors are compared with Erlang/OTP itself", present: () => hasProgram("erl") }
]
