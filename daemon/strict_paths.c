/* daemon/strict_paths.c - see strict_paths.h
 *
 * Walks by hand instead of asking realpath(), because a symbolic link in a folder of somebody else's is as
 * good a way in as a folder. What is missing ends the walk: it is made by us, or is an error of its own
 * later.
 */
#include "daemon/strict_paths.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/message.h"
#include "daemon/paths.h"

enum { LINKS_MAX = 32, WALK_SIZE = 2 * MESSAGE_PATH_SIZE };

struct walk {
    const char *whole; /* what is asked about */
    bool and_itself;
    char done[WALK_SIZE]; /* without a link in it; "" is "/" */
    char rest[WALK_SIZE];
    unsigned n_links;
    bool is_sticky; /* the folder 'done': others may make what is not there yet */
    char *why;
    size_t why_size;
};

static int refuse(const struct walk *walk, int error, const char *at, const char *what, const char *command)
{
    snprintf(walk->why, walk->why_size, "--strict-paths: %s: %s%s%s %s (it leads to %s)", at[0] ? at : "/",
             what, command[0] ? "; " : "", command, at[0] ? at : "/", walk->whole);
    return -error;
}

static int check_one(struct walk *walk, const char *at, const struct stat *st)
{
    const bool is_link = S_ISLNK(st->st_mode);
    const bool group_may = (st->st_mode & S_IWGRP) && !paths_group_is_roots(st->st_gid);
    walk->is_sticky = false;
    if (st->st_uid != 0 && st->st_uid != geteuid())
        return refuse(walk, EPERM, at, "belongs to another user, who could replace what is below",
                      is_link ? "chown -h root" : "chown root");
    if (is_link || (!group_may && !(st->st_mode & S_IWOTH)))
        return 0;
    if (S_ISDIR(st->st_mode) && (st->st_mode & S_ISVTX)) {
        walk->is_sticky = true;
        return 0;
    }
    return refuse(walk, EPERM, at, "others may write to it and replace what is below", "chmod go-w");
}

/* Cuts the next part off 'rest'. False: there is none. */
static bool next_part(struct walk *walk, char *ret_part, size_t size)
{
    const char *begin = walk->rest + strspn(walk->rest, "/");
    const size_t len = strcspn(begin, "/");
    if (len == 0)
        return false;
    snprintf(ret_part, size, "%.*s", (int)len, begin);
    memmove(walk->rest, begin + len, strlen(begin + len) + 1);
    return true;
}

static bool is_last(const struct walk *walk)
{
    return walk->rest[strspn(walk->rest, "/")] == '\0';
}

/* The link 'at' is replaced by what it says. */
static int follow(struct walk *walk, const char *at)
{
    char target[MESSAGE_PATH_SIZE], rest[WALK_SIZE];
    ssize_t len = readlink(at, target, sizeof(target));
    if (len <= 0 || len == (ssize_t)sizeof(target) || ++walk->n_links > LINKS_MAX)
        return refuse(walk, ELOOP, at, "is a link that leads nowhere", "rm");
    if (target[0] == '/')
        walk->done[0] = '\0';
    int n = snprintf(rest, sizeof(rest), "%.*s/%s", (int)len, target, walk->rest);
    if (n < 0 || (size_t)n >= sizeof(rest))
        return refuse(walk, ENAMETOOLONG, at, "is a link to a path that is too long", "");
    memcpy(walk->rest, rest, (size_t)n + 1);
    return 0;
}

/* Goes to 'part'. Returns 1 to go on, 0 at the end of what exists, or a negative errno. */
static int step(struct walk *walk, const char *part)
{
    char at[WALK_SIZE + MESSAGE_PATH_SIZE];
    struct stat st;
    if (strcmp(part, ".") == 0)
        return 1;
    if (strcmp(part, "..") == 0) { /* looked at on the way down */
        char *slash = strrchr(walk->done, '/');
        walk->done[slash ? slash - walk->done : 0] = '\0';
        return 1;
    }
    snprintf(at, sizeof(at), "%s/%s", walk->done, part);
    if (lstat(at, &st) < 0) {
        if (errno != ENOENT)
            return refuse(walk, errno, at, strerror(errno), "");
        return walk->is_sticky && !is_last(walk)
                   ? refuse(walk, EPERM, at, "is not there, and others may make it", "mkdir")
                   : 0;
    }
    if (is_last(walk) && !walk->and_itself && !S_ISLNK(st.st_mode))
        return 0;
    int r = check_one(walk, at, &st);
    if (r < 0)
        return r;
    if (S_ISLNK(st.st_mode))
        return (r = follow(walk, at)) < 0 ? r : 1;
    if (strlen(at) >= sizeof(walk->done))
        return refuse(walk, ENAMETOOLONG, at, "is a path that is too long", "");
    memcpy(walk->done, at, strlen(at) + 1);
    return 1;
}

int strict_paths_check(const char *path, bool and_itself, char *ret_why, size_t why_size)
{
    struct walk walk = {.whole = path, .and_itself = and_itself, .why = ret_why, .why_size = why_size};
    char part[MESSAGE_PATH_SIZE];
    struct stat st;
    snprintf(walk.rest, sizeof(walk.rest), "%s", path);
    int r = stat("/", &st) < 0 ? refuse(&walk, errno, "", strerror(errno), "") : check_one(&walk, "", &st);
    if (r < 0)
        return r;
    while (next_part(&walk, part, sizeof(part))) {
        r = step(&walk, part);
        if (r <= 0)
            return r;
    }
    return 0;
}
