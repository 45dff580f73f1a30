/** How often a job is started whose hosts are lost: once more. */
export const mostLosses = 2

/** How large the parts are that files are stored in, in bytes. */
export const partSize = 256 * 1024
