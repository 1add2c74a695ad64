/* daemon/state.c - one JSON file a network, replaced as a whole
 *
 * The story of a save: <name>.json.tmp is made anew (never an existing file, so no link is followed) ->
 * written -> fsync -> renamed over <name>.json -> fsync of the folder. Killed before the rename: the old
 * version and a leftover; after it: the new version. The syncs make the same true for the machine.
 */
#include "daemon/state.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/shortage.h"
#include "api/spec_json.h"

#define SUFFIX ".json"
#define SUFFIX_TMP ".tmp"
#define SUFFIX_DAMAGED ".damaged"

enum {
    FILE_NAME_SIZE = NETWORK_NAME_SIZE + sizeof SUFFIX + sizeof SUFFIX_DAMAGED,
    ENTRIES_MAX = 4096, /* files looked at; we never make more than NETWORKS_MAX */
};

typedef char file_name[FILE_NAME_SIZE];

struct state {
    int dir_fd;    /* <state>/networks, locked */
    char dir[512]; /* its path, for messages */
};

/* Says what did not work and returns the negative errno. */
__attribute__((format(printf, 4, 5))) static int fail(char *why, size_t why_size, int error, const char *what,
                                                      ...)
{
    va_list args;

    va_start(args, what);
    int n = vsnprintf(why, why_size, what, args);
    va_end(args);
    if (n >= 0 && (size_t)n < why_size)
        snprintf(why + n, why_size - (size_t)n, ": %s", strerror(error));
    return -error;
}

/* As fsync(2) promises; on macOS only F_FULLFSYNC makes the drive write (fcntl(2) there), where the volume
 * knows it. */
static int sync_to_disk(int fd)
{
#ifdef F_FULLFSYNC
    if (fcntl(fd, F_FULLFSYNC) == 0)
        return 0;
#endif
    return fsync(fd) < 0 ? -errno : 0;
}

/* ---- the folder ---- */

/* Makes 'path' and the parents that are missing, each 0700. */
static int make_folders(const char *path)
{
    char part[sizeof((struct state *)0)->dir];

    snprintf(part, sizeof part, "%s", path);
    for (char *slash = part + 1;; slash++) {
        if (*slash && *slash != '/')
            continue;
        char byte = *slash;
        *slash = '\0';
        if (mkdir(part, 0700) < 0 && errno != EEXIST)
            return -errno;
        *slash = byte;
        if (!byte)
            return 0;
    }
}

/* Opens the folder if nobody but us and root can put something into it. */
static int open_private_folder(const char *path, char *why, size_t why_size)
{
    struct stat status;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    if (fd < 0)
        return fail(why, why_size, errno, "cannot open the state folder %s", path);
    if (fstat(fd, &status) < 0) {
        int error = errno;
        close(fd);
        return fail(why, why_size, error, "cannot look at the state folder %s", path);
    }
    if ((status.st_uid != geteuid() && status.st_uid != 0) || (status.st_mode & 022) != 0) {
        close(fd);
        return fail(why, why_size, EPERM,
                    "the state folder %s must belong to uid %u and be writable by it alone", path,
                    (unsigned)geteuid());
    }
    return fd;
}

int state_open(struct state **ret_state, const char *dir, char *ret_why, size_t why_size)
{
    struct state *state = calloc(1, sizeof *state);
    int r;

    *ret_state = NULL;
    if (!state)
        return fail(ret_why, why_size, ENOMEM, "cannot open the state folder %s", dir);
    state->dir_fd = -1;
    int n = snprintf(state->dir, sizeof state->dir, "%s/networks", dir);
    if (n < 0 || (size_t)n >= sizeof state->dir) {
        r = fail(ret_why, why_size, ENAMETOOLONG, "cannot use the state folder %s", dir);
        goto free_state;
    }
    r = make_folders(state->dir);
    if (r < 0) {
        fail(ret_why, why_size, -r, "cannot make the state folder %s", state->dir);
        goto free_state;
    }
    r = open_private_folder(state->dir, ret_why, why_size);
    if (r < 0)
        goto free_state;
    state->dir_fd = r;
    if (flock(state->dir_fd, LOCK_EX | LOCK_NB) < 0) {
        r = fail(ret_why, why_size, errno, "another vmswitchd uses the state folder %s", dir);
        goto free_state;
    }
    *ret_state = state;
    return 0;

free_state:
    state_close(state);
    return r;
}

void state_close(struct state *state)
{
    if (!state)
        return;
    if (state->dir_fd >= 0)
        close(state->dir_fd);
    free(state);
}

/* ---- saving ---- */

static json_t *ports_to_json(const struct state_network *network)
{
    json_t *array = json_array();

    for (uint32_t i = 0; array && i < network->n_ports; i++)
        if (json_array_append_new(array, port_spec_to_json(&network->ports[i])) < 0) {
            json_decref(array);
            return NULL;
        }
    return array;
}

/* The text of a file, to be freed; NULL if memory is short. */
static char *network_to_text(const struct state_network *network)
{
    const uint64_t n_short = shortage_count();
    json_t *root =
        json_pack("{s:o, s:{s:I, s:I}, s:o}", "network", network_spec_to_json(network->spec), "owner", "uid",
                  (json_int_t)network->uid, "gid", (json_int_t)network->gid, "ports", ports_to_json(network));

    if (!root)
        return NULL;
    char *text = json_dumps(root, JSON_INDENT(2));
    json_decref(root);
    if (shortage_count() == n_short)
        return text;
    free(text); /* it may lack a field or a bracket: another network after a restart, or none */
    return NULL;
}

static int write_all(int fd, const char *text, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, text, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        text += n;
        len -= (size_t)n;
    }
    return 0;
}

/* Makes the file 'name' with 'text' in it, on disk when this returns 0. Nothing is left behind otherwise. */
static int write_file(const struct state *state, const char *name, const char *text)
{
    if (unlinkat(state->dir_fd, name, 0) < 0 && errno != ENOENT)
        return -errno;
    int fd = openat(state->dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    int r = write_all(fd, text, strlen(text));
    if (r == 0)
        r = sync_to_disk(fd);
    if (close(fd) < 0 && r == 0)
        r = -errno;
    if (r < 0)
        unlinkat(state->dir_fd, name, 0);
    return r;
}

int state_save(struct state *state, const struct state_network *network, char *ret_why, size_t why_size)
{
    char name[FILE_NAME_SIZE], tmp[FILE_NAME_SIZE];
    int r;

    snprintf(name, sizeof name, "%s" SUFFIX, network->spec->name);
    snprintf(tmp, sizeof tmp, "%s" SUFFIX SUFFIX_TMP, network->spec->name);
    char *text = network_to_text(network);
    if (!text)
        return fail(ret_why, why_size, ENOMEM, "cannot keep network \"%s\"", network->spec->name);
    r = write_file(state, tmp, text);
    free(text);
    if (r < 0)
        return fail(ret_why, why_size, -r, "cannot write %s/%s", state->dir, tmp);
    if (renameat(state->dir_fd, tmp, state->dir_fd, name) < 0) {
        r = fail(ret_why, why_size, errno, "cannot rename %s/%s", state->dir, tmp);
        unlinkat(state->dir_fd, tmp, 0);
        return r;
    }
    r = sync_to_disk(state->dir_fd);
    return r < 0 ? fail(ret_why, why_size, -r, "cannot sync %s", state->dir) : 0;
}

int state_remove(struct state *state, const char *name, char *ret_why, size_t why_size)
{
    char file[FILE_NAME_SIZE];

    snprintf(file, sizeof file, "%s" SUFFIX, name);
    if (unlinkat(state->dir_fd, file, 0) < 0)
        return errno == ENOENT ? 0 : fail(ret_why, why_size, errno, "cannot remove %s/%s", state->dir, file);
    int r = sync_to_disk(state->dir_fd);
    return r < 0 ? fail(ret_why, why_size, -r, "cannot sync %s", state->dir) : 0;
}

/* ---- loading ---- */

/* What a file said. */
struct loaded {
    int error; /* not the file's, and perhaps not there the next time */
    struct network_spec spec;
    uid_t uid;
    gid_t gid;
    struct port_spec *ports;
    uint32_t n_ports;
};

static bool ends_with(const char *name, const char *suffix)
{
    size_t len = strlen(name), n = strlen(suffix);

    return len > n && strcmp(name + len - n, suffix) == 0;
}

/* (uid_t)-1 means "leave as it is" to chown, so it is nobody's. */
static bool read_id(const json_t *owner, const char *key, uint32_t *ret_id)
{
    const json_t *id = json_object_get(owner, key);
    json_int_t value = json_integer_value(id);

    *ret_id = (uint32_t)value;
    return json_is_integer(id) && value >= 0 && value < (json_int_t)UINT32_MAX;
}

static bool read_ports(const json_t *array, struct loaded *loaded, char *why, size_t why_size)
{
    struct spec_error error = {.field = ""};

    if (!json_is_array(array) || json_array_size(array) > NETWORK_PORTS_MAX) {
        snprintf(why, why_size, "/ports must be an array of at most %d", NETWORK_PORTS_MAX);
        return false;
    }
    loaded->ports = calloc(json_array_size(array) + 1, sizeof *loaded->ports);
    if (!loaded->ports) {
        loaded->error = -ENOMEM;
        return false;
    }
    for (size_t i = 0; i < json_array_size(array); i++) {
        struct port_spec *port = &loaded->ports[i];
        if (port_spec_from_json(json_array_get(array, i), NULL, port, &error) < 0) {
            snprintf(why, why_size, "/ports/%zu%s %s", i, error.field, error.rule);
            return false;
        }
        for (size_t k = 0; k < i; k++)
            if (strcmp(loaded->ports[k].name, port->name) == 0) {
                snprintf(why, why_size, "/ports/%zu/name is there twice", i);
                return false;
            }
        loaded->n_ports++;
    }
    return true;
}

/* The name inside must be the one of the file, or a renamed copy would become a second network of the same
 * name. */
static bool read_root(const json_t *root, const char *name, struct loaded *loaded, char *why, size_t why_size)
{
    struct spec_error error = {.field = ""};
    const json_t *owner = json_object_get(root, "owner");

    if (!json_is_object(root) || json_object_size(root) != 3 || !json_object_get(root, "network")) {
        snprintf(why, why_size, "it must be an object of network, owner and ports");
        return false;
    }
    if (network_spec_from_json(json_object_get(root, "network"), name, &loaded->spec, &error) < 0) {
        snprintf(why, why_size, "/network%s %s", error.field, error.rule);
        return false;
    }
    if (json_object_size(owner) != 2 || !read_id(owner, "uid", &loaded->uid) ||
        !read_id(owner, "gid", &loaded->gid)) {
        snprintf(why, why_size, "/owner must have a uid and a gid");
        return false;
    }
    return read_ports(json_object_get(root, "ports"), loaded, why, why_size);
}

/* The text of a regular file, to be freed. Returns its length; -EINVAL if it is none of ours; another
 * negative errno if it could not be read, which says nothing about what is in it. */
static ssize_t read_file(const struct state *state, const char *name, char **ret_text)
{
    struct stat status;
    /* O_NONBLOCK: a FIFO must not hold us. */
    int fd = openat(state->dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    ssize_t r;
    size_t len = 0;

    *ret_text = NULL;
    if (fd < 0)
        return errno == ELOOP || errno == ENXIO ? -EINVAL : -errno;
    if (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode) || status.st_size > STATE_FILE_MAX) {
        close(fd);
        return -EINVAL;
    }
    size_t size = (size_t)status.st_size;
    char *text = malloc(size + 1);
    if (!text) {
        close(fd);
        return -ENOMEM;
    }
    do {
        r = read(fd, text + len, size - len);
        if (r > 0)
            len += (size_t)r;
    } while (r > 0 || (r < 0 && errno == EINTR));
    int error = errno;
    close(fd);
    if (r < 0) {
        free(text);
        return -error;
    }
    *ret_text = text;
    return (ssize_t)len;
}

/* What says nothing about the file, and nothing about the next time. */
static bool is_shortage(ssize_t error)
{
    return error == -ENOMEM || error == -EMFILE || error == -ENFILE || error == -EIO;
}

/* Returns true if *loaded is filled, else a sentence in 'why' and whether the file itself is to blame; or
 * nothing but loaded->error. */
static bool load_file(const struct state *state, const char *file, struct loaded *loaded,
                      bool *ret_is_damaged, char *why, size_t why_size)
{
    const uint64_t n_short = shortage_count();
    struct spec_error error = {.field = ""};
    char name[FILE_NAME_SIZE], sentence[256], *text;
    int line = 1;

    ssize_t len = read_file(state, file, &text);
    *ret_is_damaged = len >= 0 || len == -EINVAL;
    if (is_shortage(len)) {
        loaded->error = (int)len;
        return false;
    }
    if (len < 0) {
        snprintf(why, why_size, "%s",
                 len == -EINVAL ? "it must be a regular file of at most 1 MiB" : strerror((int)-len));
        return false;
    }
    snprintf(name, sizeof name, "%.*s", (int)(strlen(file) - strlen(SUFFIX)), file);
    json_t *root = json_parse_limited(text, (size_t)len, sentence, sizeof sentence, &line);
    free(text);
    if (!root) {
        loaded->error = shortage_count() == n_short ? 0 : -ENOMEM;
        snprintf(why, why_size, "line %d: %s", line, sentence);
        return false;
    }
    bool is_read = read_root(root, name, loaded, why, why_size);
    json_decref(root);
    if (!is_read || network_spec_check(&loaded->spec, &error) == 0)
        return is_read;
    /* Not damaged: it made sense once, to another build or on another system, and may again. */
    *ret_is_damaged = false;
    snprintf(why, why_size, "/network%s %s", error.field, error.rule);
    return false;
}

/* Keeps the file for a person, under a name that is never loaded. */
static void set_aside(const struct state *state, const char *file, char *why, size_t why_size)
{
    char aside[FILE_NAME_SIZE + sizeof SUFFIX_DAMAGED];
    size_t n = strlen(why);
    int r = snprintf(aside, sizeof aside, "%s" SUFFIX_DAMAGED, file);

    if (r > 0 && (size_t)r < sizeof aside && renameat(state->dir_fd, file, state->dir_fd, aside) == 0)
        snprintf(why + n, why_size - n, "; set aside as %s/%s", state->dir, aside);
    else
        snprintf(why + n, why_size - n, "; it could not be set aside");
}

/* Returns 0, or a negative errno if what is in the file could not be found out. */
static int visit_file(const struct state *state, const char *file, const struct state_visitor *visitor,
                      void *ctx)
{
    struct loaded loaded = {.n_ports = 0};
    char why[STATE_WHY_SIZE], sentence[400];
    bool is_damaged = false;

    if (load_file(state, file, &loaded, &is_damaged, sentence, sizeof sentence)) {
        const struct state_network network = {&loaded.spec, loaded.uid, loaded.gid, loaded.ports,
                                              loaded.n_ports};
        visitor->on_network(ctx, &network);
    } else if (!loaded.error) {
        snprintf(why, sizeof why, "%s/%s was not loaded: %s", state->dir, file, sentence);
        if (is_damaged)
            set_aside(state, file, why, sizeof why);
        visitor->on_damaged(ctx, file, why);
    }
    free(loaded.ports);
    return loaded.error;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* Adds the names of our files, to be freed each by the caller in any case, and removes leftovers on the way.
 */
static int list_files(const struct state *state, file_name *names, size_t max, size_t *ret_n)
{
    /* Opened anew: a copy of dir_fd would share its offset. */
    int fd = openat(state->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    int r = dir ? 0 : -errno;

    if (!dir && fd >= 0)
        close(fd);
    for (const struct dirent *entry; dir && r == 0 && (entry = readdir(dir));) {
        if (ends_with(entry->d_name, SUFFIX SUFFIX_TMP))
            unlinkat(state->dir_fd, entry->d_name, 0);
        if (!ends_with(entry->d_name, SUFFIX) || strlen(entry->d_name) >= sizeof *names)
            continue;
        if (*ret_n == max)
            r = -EFBIG;
        else
            memcpy(names[(*ret_n)++], entry->d_name, strlen(entry->d_name) + 1);
    }
    if (dir)
        closedir(dir);
    return r;
}

int state_load_all(struct state *state, const struct state_visitor *visitor, void *ctx, char *ret_why,
                   size_t why_size)
{
    file_name *names = calloc(ENTRIES_MAX, sizeof *names);
    size_t n = 0;

    int r = names ? list_files(state, names, ENTRIES_MAX, &n) : -ENOMEM;
    if (n > 0)
        qsort(names, n, sizeof *names, compare_names);
    for (size_t i = 0; i < n && r == 0; i++)
        r = visit_file(state, names[i], visitor, ctx);
    free(names);
    return r < 0 ? fail(ret_why, why_size, -r, "cannot read %s", state->dir) : 0;
}

int state_load_one(struct state *state, const char *name, const struct state_visitor *visitor, void *ctx)
{
    char file[FILE_NAME_SIZE];

    snprintf(file, sizeof file, "%s" SUFFIX, name);
    return faccessat(state->dir_fd, file, F_OK, 0) == 0 ? visit_file(state, file, visitor, ctx) : 0;
}
