import { assert, describe, it } from "@effect/vitest"
import {
  archiveName,
  parseConflict,
  parseHostSettings,
  parseSimulation,
  parseUnknown
} from "../../src/images/internal/apt.ts"

describe("apt's words", () => {
  it("gives the packages of a simulated installation", () => {
    const text = `NOTE: This is only a simulation!
Inst libc6 (2.36-9+deb12u14 Debian:12.0/stable [amd64])
Inst nginx [1.22.0-1] (1.22.1-9+deb12u11 Debian-Security:12/stable-security, Debian:12.0/stable [amd64]) []
Inst libfoo:i386 (1:2.0 Debian:12.0/stable [i386])
Inst tzdata (2025b-0 Debian:12.0/stable [all])
Conf libc6 (2.36-9+deb12u14 Debian:12.0/stable [amd64])
`
    const packages = parseSimulation(text)
    assert.deepStrictEqual(packages, [
      { name: "libc6", version: "2.36-9+deb12u14", architecture: "amd64" },
      { name: "nginx", version: "1.22.1-9+deb12u11", architecture: "amd64" },
      { name: "libfoo", version: "1:2.0", architecture: "i386" },
      { name: "tzdata", version: "2025b-0", architecture: "all" }
    ])
    assert.deepStrictEqual(packages.map(archiveName).slice(2), ["libfoo_1%3a2.0_i386.deb", "tzdata_2025b-0_all.deb"])
  })

  it("gives each name that apt does not know, once", () => {
    const text = `E: Unable to locate package ngnix
E: Package 'libdb1' has no installation candidate
E: Version '9' for 'bash' was not found
E: Unable to locate package lib1.0
E: Couldn't find any package by glob 'lib1.0'
`
    assert.deepStrictEqual(parseUnknown(text), ["ngnix", "lib1.0", "libdb1", "bash=9"])
    assert.deepStrictEqual(parseUnknown("E: Unable to correct problems, you have held broken packages."), [])
  })

  it("gives why packages cannot be installed together, without advice for people at a prompt", () => {
    const stdout = `Reading package lists...
Some packages could not be installed. This may mean that you have
or been moved out of Incoming.
The following information may help to resolve the situation:

The following packages have unmet dependencies:
 exim4-config : Conflicts: postfix but 3.7.11-0+deb12u1 is to be installed
 postfix : Conflicts: mail-transport-agent
`
    const { reason, said } = parseConflict(stdout, "E: Unable to correct problems, you have held broken packages.\n")
    assert.strictEqual(
      reason,
      "apt cannot install these packages together: exim4-config: Conflicts: postfix but 3.7.11-0+deb12u1 is to be installed"
    )
    assert.match(
      said,
      /^ exim4-config : .*\n postfix : .*\nE: Unable to correct problems, you have held broken packages\.$/
    )
    assert.deepStrictEqual(parseConflict("odd\n", "E: broken"), {
      reason: "apt cannot install these packages together",
      said: "odd\nE: broken"
    })
  })

  it("takes from the host what is about reaching mirrors, and nothing that runs programs", () => {
    const text = `APT "";
APT::Update::Post-Invoke:: "rm -f /var/cache/apt/archives/*.deb";
Acquire "";
Acquire::http "";
Acquire::http::Proxy "http://proxy.example:3128";
Acquire::http::Proxy::mirror.example "DIRECT";
Acquire::Check-Valid-Until "false";
Acquire::Languages:: "none";
Acquire::GzipIndexes "true";
`
    assert.deepStrictEqual(parseHostSettings(text), [
      'Acquire::http::Proxy "http://proxy.example:3128";',
      'Acquire::http::Proxy::mirror.example "DIRECT";',
      'Acquire::Check-Valid-Until "false";'
    ])
  })
})
