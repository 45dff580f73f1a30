// What must be installed: the Debian package, its purpose, and how to find it without dpkg.
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { hasFile, hasProgram, root } from "./lib.mjs"

const withCheck = (item) => ({ ...item, present: () => (item.file ? hasFile(item.file) : hasProgram(item.program)) })

/** What vmtest uses; `vmtest doctor` reads the same list. */
const requirements = JSON.parse(readFileSync(join(root, "src", "cli", "requirements.json"), "utf8")).map(withCheck)

/** To run vmtest. */
export const runtime = requirements.filter((item) => !item.optional)

/** To run the tests as well. */
export const testing = [
  ...requirements.filter((item) => item.optional),
  ...[
    { package: "erlang-base", program: "erl", why: "comparing the actors with Erlang/OTP" },
    { package: "iproute2", program: "ip", why: "testing networks that are bridges of Linux" },
    { package: "nftables", program: "nft", why: "testing partitions on bridges of Linux" },
    { package: "tcpdump", program: "tcpdump", why: "testing captures on bridges of Linux" },
    { package: "chromium", program: "chromium", why: "testing the pages of reports" },
    { package: "libxml2-utils", program: "xmllint", why: "checking reports in JUnit's XML" },
    { package: "cpio", program: "cpio", why: "reading vmtest's archives back" },
    { package: "tmux", program: "tmux", why: "testing prompts and shells at a terminal" },
    { package: "tshark", program: "tshark", why: "reading captures of networks" },
    { package: "wireshark-common", program: "capinfos", why: "reading captures of networks" },
    { package: "tcpdump", program: "tcpdump", why: "capturing networks on bridges" },
    { package: "qemu-utils", program: "qemu-img", why: "comparing disk images with QEMU's own" },
    { package: "nix-bin", program: "nix", why: "testing the flake" },
    { package: "postgresql", file: "/usr/share/postgresql-common/pg_wrapper", why: "testing fleets on Postgres" },
    { package: "ovmf", file: "/usr/share/OVMF/OVMF_CODE_4M.fd", why: "testing machines with UEFI firmware" },
    { package: "openssh-client", program: "ssh", why: "testing the SSH backdoors of NixOS tests" },
    { package: "binutils", program: "as", why: "comparing programs for guests with their sources" }
  ].map(withCheck)
]
