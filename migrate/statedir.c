/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/statedir.c - see migrate/statedir.h; flock(2), rename(2).
 *
 * Files: `lock`, `identity` ("SIDE ID\n"), `record` ("RECORD EPOCH\n"), and whatever else is
 * written through pf_statedir_write().  A writer that dies leaves `.NAME.new` behind, which the
 * next writer of NAME overwrites.
 */
#include "migrate/statedir.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/size.h"

#define NAME_MAX_LENGTH 64u
#define LOCK_TRIES 25u /* half a second */
#define LOCK_AGAIN_MS 20
#define SMALL_FILE_MAX 128u /* identity and record */

static int open_directory(struct pf_statedir *dir, const char *path, struct pf_err *err)
{
	struct stat st;

	if (path[0] == '\0' || strlen(path) >= sizeof(dir->path))
		return pf_err_set(err, PF_ERR_CONFIG,
				  "the path of the state directory must have 1 to %zu bytes",
				  sizeof(dir->path) - 1);
	if (mkdir(path, 0700) != 0 && errno != EEXIST) {
		pf_err_sys(err, "making the state directory %s", path);
		err->class = PF_ERR_CONFIG;
		return pf_err_hint(err, "only the last folder is made; those above must be there");
	}
	dir->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir->fd < 0 || fstat(dir->fd, &st) != 0) {
		pf_err_sys(err, "opening the state directory %s", path);
		err->class = PF_ERR_CONFIG;
		return pf_err_hint(err, "give a folder that is the agent's own, best on tmpfs");
	}
	/* Who can rename files in it can swap the record, and with it the owner of the guest. */
	if ((st.st_uid != geteuid() && st.st_uid != 0) || (st.st_mode & 022)) {
		pf_err_set(err, PF_ERR_CONFIG,
			   "the state directory %s can be written by others (user %u, mode %04o)",
			   path, st.st_uid, st.st_mode & 07777);
		return pf_err_hint(err, "give the agent a directory of its own, mode 0700");
	}
	memcpy(dir->path, path, strlen(path) + 1);
	return 0;
}

/* One that was kept for this process is locked already: its lock is that of the open file. */
static int take_lock(struct pf_statedir *dir, struct pf_err *err)
{
	if (dir->lock_fd < 0)
		dir->lock_fd = openat(dir->fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (dir->lock_fd < 0)
		return pf_err_sys(err, "creating %s/lock", dir->path);
	for (unsigned i = 0; i < LOCK_TRIES; i++) {
		if (flock(dir->lock_fd, LOCK_EX | LOCK_NB) == 0)
			return 0;
		if (errno != EWOULDBLOCK)
			break;
		/* An agent that was killed may not be gone yet, all of it; nobody tells when it is. */
		(void)poll(NULL, 0, LOCK_AGAIN_MS);
		errno = EWOULDBLOCK;
	}
	if (errno != EWOULDBLOCK)
		return pf_err_sys(err, "locking %s/lock", dir->path);
	pf_err_set(err, PF_ERR_CONFIG, "the state directory %s is in use by another process",
		   dir->path);
	return pf_err_hint(err, "each agent needs a state directory of its own; "
				"fuser(1) on its file `lock` tells who has it");
}

static int open_for_reading(const struct pf_statedir *dir, const char *name, struct stat *st,
			    struct pf_err *err)
{
	pf_auto_fd int fd = openat(dir->fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

	if (fd < 0 && errno == ENOENT)
		return -ENOENT;
	if (fd < 0 || fstat(fd, st) != 0)
		return pf_err_sys(err, "opening %s/%s", dir->path, name);
	if (!S_ISREG(st->st_mode))
		return pf_err_set(err, PF_ERR_CONFIG, "%s/%s is not a file", dir->path, name);
	return pf_steal_fd(&fd);
}

static int read_all(const struct pf_statedir *dir, const char *name, int fd, char *out,
		    size_t length, struct pf_err *err)
{
	size_t done = 0;

	while (done < length) {
		ssize_t got = read(fd, out + done, length - done);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return pf_err_sys(err, "reading %s/%s", dir->path, name);
		if (got == 0)
			return pf_err_set(err, PF_ERR_CONFIG, "%s/%s became shorter while read",
					  dir->path, name);
		done += (size_t)got;
	}
	return 0;
}

/* A text file of one line, without its newline.  1: not there. */
static int read_line(const struct pf_statedir *dir, const char *name, char out[SMALL_FILE_MAX],
		     struct pf_err *err)
{
	struct stat st;
	pf_auto_fd int fd = open_for_reading(dir, name, &st, err);
	size_t length;

	if (fd < 0)
		return fd == -ENOENT ? 1 : -1;
	length = (size_t)st.st_size;
	if (st.st_size < 2 || length >= SMALL_FILE_MAX)
		return pf_err_set(err, PF_ERR_CONFIG, "%s/%s is damaged: %zu bytes", dir->path,
				  name, length);
	if (read_all(dir, name, fd, out, length, err))
		return -1;
	out[length] = '\0';
	if (strlen(out) != length || strchr(out, '\n') != out + length - 1)
		return pf_err_set(err, PF_ERR_CONFIG, "%s/%s is damaged: not one line", dir->path,
				  name);
	out[length - 1] = '\0';
	return 0;
}

static int check_identity(struct pf_statedir *dir, enum pf_side side, const char *id,
			  struct pf_err *err)
{
	char mine[SMALL_FILE_MAX], there[SMALL_FILE_MAX] = "";
	int length, found;

	length = snprintf(mine, sizeof(mine), "%s %s\n",
			  side == PF_SOURCE ? "source" : "destination", id);
	if (length < 0 || (size_t)length >= sizeof(mine))
		return pf_err_set(err, PF_ERR_CONFIG, "the id %s is too long", id);
	found = read_line(dir, "identity", there, err);
	if (found < 0)
		return -1;
	if (found == 1)
		return pf_statedir_write(dir, "identity", mine, (size_t)length, err);
	mine[length - 1] = '\0';
	if (strcmp(mine, there) == 0)
		return 0;
	pf_err_set(err, PF_ERR_CONFIG, "the state directory %s is that of '%s', not of '%s'",
		   dir->path, there, mine);
	return pf_err_hint(err, "one directory for each side of each migration");
}

/* Nothing has begun: what is wrong with the directory is its giver's to mend. */
static int blame_directory(struct pf_err *err)
{
	if (err->sys == ENOSPC || err->sys == EDQUOT)
		err->class = PF_ERR_CONFIG;
	if (err->class == PF_ERR_CONFIG && !err->hint[0])
		pf_err_hint(err, "who owns the guest is not to be learnt from it any more: ask the "
				 "other side; a new migration takes a fresh --state-dir and --id");
	return -1;
}

int pf_statedir_open(struct pf_statedir *dir, const char *path, enum pf_side side, const char *id,
		     struct pf_err *err)
{
	return pf_statedir_open_kept(dir, path, side, id, -1, err);
}

int pf_statedir_open_kept(struct pf_statedir *dir, const char *path, enum pf_side side,
			  const char *id, int lock_fd, struct pf_err *err)
{
	*dir = (struct pf_statedir){.fd = -1, .lock_fd = lock_fd};
	if (open_directory(dir, path, err) == 0 && take_lock(dir, err) == 0 &&
	    check_identity(dir, side, id, err) == 0)
		return 0;
	pf_statedir_close(dir);
	return blame_directory(err);
}

void pf_statedir_close(struct pf_statedir *dir)
{
	pf_close_fd(&dir->fd);
	pf_close_fd(&dir->lock_fd);
}

static int check_name(const char *name, struct pf_err *err)
{
	size_t length = strlen(name);

	if (length == 0 || length > NAME_MAX_LENGTH || name[0] == '.' || strchr(name, '/'))
		return pf_err_set(err, PF_ERR_CONFIG, "'%s' is no name for a state file", name);
	return 0;
}

static int write_all(int fd, const char *data, size_t length)
{
	size_t done = 0;

	while (done < length) {
		ssize_t put = write(fd, data + done, length - done);

		if (put < 0 && errno != EINTR)
			return -1;
		if (put > 0)
			done += (size_t)put;
	}
	return 0;
}

int pf_statedir_write(struct pf_statedir *dir, const char *name, const void *data, size_t length,
		      struct pf_err *err)
{
	char fresh[NAME_MAX_LENGTH + 8];
	pf_auto_fd int fd = -1;

	if (check_name(name, err))
		return -1;
	snprintf(fresh, sizeof(fresh), ".%s.new", name);
	fd = openat(dir->fd, fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return pf_err_sys(err, "creating %s/%s", dir->path, fresh);
	/* No fsync: tmpfs has no disk, and the promise ends with the host (DESIGN.md 4.1). */
	if (write_all(fd, data, length) == 0 && renameat(dir->fd, fresh, dir->fd, name) == 0)
		return 0;
	pf_err_sys(err, "writing %s/%s", dir->path, name);
	if (err->sys == ENOSPC)
		pf_err_hint(err, "the file system of --state-dir is full");
	unlinkat(dir->fd, fresh, 0);
	return -1;
}

int pf_statedir_remove(struct pf_statedir *dir, const char *name, struct pf_err *err)
{
	if (check_name(name, err))
		return -1;
	if (unlinkat(dir->fd, name, 0) == 0 || errno == ENOENT)
		return 0;
	return pf_err_sys(err, "removing %s/%s", dir->path, name);
}

/* The file has between `least` and `most` bytes; 1: there is none. */
static int read_between(struct pf_statedir *dir, const char *name, void *out, size_t least, size_t most,
			size_t *out_length, struct pf_err *err)
{
	pf_auto_fd int fd = -1;
	struct stat st;

	if (check_name(name, err))
		return -1;
	fd = open_for_reading(dir, name, &st, err);
	if (fd < 0)
		return fd == -ENOENT ? 1 : -1;
	*out_length = (size_t)st.st_size;
	if (*out_length < least || *out_length > most)
		return pf_err_set(err, PF_ERR_CONFIG, "%s/%s has %zu bytes, and %s%zu can be", dir->path,
				  name, *out_length, least == most ? "only " : "at most ", most);
	return read_all(dir, name, fd, out, *out_length, err);
}

int pf_statedir_read(struct pf_statedir *dir, const char *name, void *out, size_t length,
		     struct pf_err *err)
{
	size_t has;

	return read_between(dir, name, out, length, length, &has, err);
}

int pf_statedir_read_most(struct pf_statedir *dir, const char *name, void *out, size_t size,
			  size_t *out_length, struct pf_err *err)
{
	return read_between(dir, name, out, 0, size, out_length, err);
}

int pf_statedir_write_record(struct pf_statedir *dir, enum pf_record record, uint32_t epoch,
			     struct pf_err *err)
{
	char line[SMALL_FILE_MAX];
	int length = snprintf(line, sizeof(line), "%s %u\n", pf_record_name(record), epoch);

	return pf_statedir_write(dir, "record", line, (size_t)length, err);
}

int pf_statedir_read_record(struct pf_statedir *dir, enum pf_record *out_record,
			    uint32_t *out_epoch, struct pf_err *err)
{
	char line[SMALL_FILE_MAX] = "";
	int found = read_line(dir, "record", line, err);
	struct pf_err number_err;
	enum pf_record record;
	uint64_t epoch;
	char *blank;

	if (found < 0)
		return blame_directory(err);
	if (found == 1) {
		*out_record = PF_RECORD_NONE;
		*out_epoch = 0;
		return 0;
	}
	blank = strchr(line, ' ');
	if (!blank) {
		pf_err_set(err, PF_ERR_CONFIG, "%s/record is damaged: '%s'", dir->path, line);
		return blame_directory(err);
	}
	*blank = '\0';
	record = pf_record_parse(line);
	if (!record || pf_number_parse(blank + 1, 0, UINT32_MAX, &epoch, &number_err)) {
		pf_err_set(err, PF_ERR_CONFIG, "%s/record is damaged: '%s %s'", dir->path, line,
			   blank + 1);
		return blame_directory(err);
	}
	*out_record = record;
	*out_epoch = (uint32_t)epoch;
	return 0;
}
