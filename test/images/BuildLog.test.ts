import { assert, describe, it } from "@effect/vitest"
import { causeOf } from "../../src/images/internal/buildLog.ts"

const chatter = `I: running --customize-hook in shell: sh -c 'chroot "$1" ...' exec /tmp/vmtest-tree-x
Reading package lists...
Selecting previously unselected package web.
(Reading database ... 6842 files and directories currently installed.)
Unpacking web (1.0) ...
Setting up web (1.0) ...
`
const aftermath = `E: setup failed: E: command failed: chroot "$1" /bin/sh -e /.vmtest-image && rm -f "$1/.vmtest-image"
W: hooklistener errored out: E: received eof on socket

I: main() received signal PIPE: waiting for setup...
I: removing tempdir /dev/shm/vmtest-tree-x/mmdebstrap.y...
E: mmdebstrap failed to run
`

describe("the cause of a failed build", () => {
  it("is the step of ours that failed, with its last line, and what it said before", () => {
    const said = `${chatter}vmtest: begin: making the user alice
useradd warning: alice's uid 5 is too low
vmtest: begin: setup command 1 (make)
cc -c a.c
a.c:1: error: no
make: *** [a.o] Error 1
vmtest: failed with exit code 2: setup command 1 (make)
${aftermath}`
    assert.deepStrictEqual(causeOf(said), {
      reason: "setup command 1 (make) failed with exit code 2: make: *** [a.o] Error 1",
      said: "cc -c a.c\na.c:1: error: no"
    })
  })

  it("is a step that said nothing", () => {
    const said = `${chatter}vmtest: begin: setup command 1 (false)\nvmtest: failed with exit code 1: setup command 1 (false)\n${aftermath}`
    assert.deepStrictEqual(causeOf(said), {
      reason: "setup command 1 (false) failed with exit code 1",
      said: ""
    })
  })

  it("is the package whose script failed, with what the script said", () => {
    const said = `${chatter}Job for web.service failed.
dpkg: error processing package web (--configure):
 installed web package post-installation script subprocess returned error exit status 1
Processing triggers for libc-bin (2.36-9+deb12u10) ...
Errors were encountered while processing:
 web
E: Sub-process /usr/bin/dpkg returned an error code (1)
${aftermath}`
    assert.deepStrictEqual(causeOf(said), {
      reason:
        "dpkg: error processing package web (--configure): installed web package post-installation script subprocess returned error exit status 1",
      said: "Job for web.service failed."
    })
  })

  it("is apt's error, not what comes of it", () => {
    const said = `${chatter}E: Failed to fetch http://mirror.example/x.deb  404  Not Found\nE: Unable to fetch some archives\n${aftermath}`
    assert.deepStrictEqual(causeOf(said), {
      reason: "Failed to fetch http://mirror.example/x.deb  404  Not Found",
      said: ""
    })
  })

  it("is the last line that tells more than that it failed", () => {
    const said = `${chatter}mkfs.erofs: failed to open /x\n${aftermath}`
    assert.deepStrictEqual(causeOf(said), { reason: "mkfs.erofs: failed to open /x", said: "" })
    assert.isUndefined(causeOf(""))
    assert.isUndefined(causeOf(aftermath))
  })
})
