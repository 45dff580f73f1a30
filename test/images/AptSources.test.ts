import { assert, describe, it } from "@effect/vitest"
import { debianMirrors, parseDeb822, parseOneLine, sourcesText } from "../../src/images/internal/aptSources.ts"

const debian = "[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]"

describe("apt sources", () => {
  it("reads one-line entries with and without options, and leaves sources and comments out", () => {
    const text = `
# deb http://old.example/debian stretch main
deb ${debian} http://mirror.example/debian bookworm main contrib # ours
deb-src http://mirror.example/debian bookworm main
deb [ arch=amd64 trusted=yes ] https://vendor.example/apt stable main
`
    assert.deepStrictEqual(parseOneLine(text), [
      {
        uri: "http://mirror.example/debian",
        suite: "bookworm",
        components: ["main", "contrib"],
        signedBy: "/usr/share/keyrings/debian-archive-keyring.gpg"
      },
      { uri: "https://vendor.example/apt", suite: "stable", components: ["main"], signedBy: undefined }
    ])
  })

  it("reads stanzas with several suites, comments inside, continued lines and embedded keys", () => {
    const text = `Types: deb deb-src
# a snapshot would be here
URIs: http://mirror.example/debian
Suites: trixie trixie-updates
Components: main
  contrib
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 -----END PGP PUBLIC KEY BLOCK-----

Types: deb
URIs: http://off.example/debian
Suites: trixie
Components: main
Enabled: no
`
    const sources = parseDeb822(text)
    assert.deepStrictEqual(
      sources.map(({ components, suite, uri }) => [uri, suite, components]),
      [
        ["http://mirror.example/debian", "trixie", ["main", "contrib"]],
        ["http://mirror.example/debian", "trixie-updates", ["main", "contrib"]]
      ]
    )
    assert.include(sources[0]?.signedBy ?? "", "BEGIN PGP")
  })

  it("tells Debian's mirrors from those of vendors with the same words", () => {
    const sources = parseOneLine(`
deb https://vendor.example/apt stable main
deb [signed-by=/etc/apt/keyrings/vendor.gpg] https://php.example/ bookworm main
deb http://mirror.example/debian trixie main
deb http://mirror.example/debian trixie-updates main
deb http://security.example/debian-security trixie-security main
`)
    assert.deepStrictEqual(debianMirrors(sources), {
      main: "http://mirror.example/debian",
      security: "http://security.example/debian-security",
      updates: true
    })
  })

  it("prefers what is signed by Debian's keys", () => {
    const sources = parseOneLine(`
deb http://other.example/debian bookworm main
deb ${debian} http://ours.example/mirror bookworm main
`)
    assert.strictEqual(debianMirrors(sources)?.main, "http://ours.example/mirror")
  })

  it("knows the old name of the security suite, and that a host may have none", () => {
    const sources = parseOneLine("deb http://a.example/debian buster main\ndeb http://b.example/ buster/updates main")
    assert.strictEqual(debianMirrors(sources)?.security, "http://b.example/")
    assert.deepStrictEqual(debianMirrors(sources.slice(0, 1)), {
      main: "http://a.example/debian",
      security: undefined,
      updates: false
    })
    assert.isUndefined(debianMirrors(parseOneLine("deb http://archive.example/ubuntu noble main")))
  })

  it("asks the mirrors for the suite of the image, not of the host", () => {
    const text = sourcesText(
      { main: "http://m.example/debian", security: "http://s.example/debian-security", updates: true },
      "bookworm",
      "/key.gpg"
    )
    assert.deepStrictEqual(
      parseDeb822(text).map(({ signedBy, suite, uri }) => [uri, suite, signedBy]),
      [
        ["http://m.example/debian", "bookworm", "/key.gpg"],
        ["http://m.example/debian", "bookworm-updates", "/key.gpg"],
        ["http://s.example/debian-security", "bookworm-security", "/key.gpg"]
      ]
    )
  })
})
