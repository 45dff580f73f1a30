/**
 * Shell text that defines `nap`: 20 ms of nothing.
 *
 * A `sleep` is a process, which an emulated guest takes longer to make than to wait for, and whose making keeps one of its processors busy. bash
 * waits by itself, for input that never comes: both ends of the pipe are its own. Needs `set +e`.
 */
export const nap = `nap() { sleep 0.02; }
[ -z "\${BASH_VERSION:-}" ] || ! eval 'exec {_nap}<> <(:)' 2>/dev/null || nap() { read -r -t 0.02 -u $_nap; }`
