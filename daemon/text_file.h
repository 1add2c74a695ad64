/* daemon/text_file.h - small files that are replaced as a whole
 *
 * No symbolic link is followed in the last part of a path.
 */
#ifndef DAEMON_TEXT_FILE_H
#define DAEMON_TEXT_FILE_H

#include <stdbool.h>
#include <stddef.h>

/* Writes "<name>.new" in 'folder', 0600, and renames it into place. Returns 0 or a negative errno. */
int text_file_write(const char *folder, const char *name, const char *text);

/* The content, NUL-terminated, to be freed, and its length without that NUL (it may have others inside). NULL
 * with a negative errno in 'ret_error': -ENOENT, -EFBIG: longer than 'max', -EINVAL: not a file ... */
char *text_file_read(const char *folder, const char *name, size_t max, size_t *ret_len, int *ret_error);

#endif
