/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/fuzz/replay.c - runs every file of a corpus through one fuzz target, without libFuzzer.
 *
 * Arguments: files or folders; without any, this target's folder in the source tree.  An empty
 * folder is an error, since nothing would have been tested.
 */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/fuzz/fuzz.h"

#define INPUT_MAX ((size_t)1 << 20)

static int replay_file(const char *path)
{
	FILE *file = fopen(path, "rb");
	uint8_t *data = malloc(INPUT_MAX);
	size_t size;
	bool failed;

	if (!file || !data) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		free(data);
		if (file)
			fclose(file);
		return -1;
	}
	size = fread(data, 1, INPUT_MAX, file);
	failed = ferror(file) || !feof(file);
	fclose(file);
	if (failed) {
		fprintf(stderr, "%s: cannot be read, or is larger than %zu bytes\n", path,
			INPUT_MAX);
	} else {
		/* In a block of its own size, so that a sanitizer sees the first byte beyond it. */
		uint8_t *exact = malloc(size ? size : 1);

		if (exact) {
			memcpy(exact, data, size);
			LLVMFuzzerTestOneInput(exact, size);
		}
		failed = !exact;
		free(exact);
	}
	free(data);
	return failed ? -1 : 0;
}

/* The number of files, or -1. */
static int replay_folder(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	int count = 0;

	if (!dir) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		return -1;
	}
	while (count >= 0 && (entry = readdir(dir))) {
		char file[PATH_MAX];

		if (entry->d_name[0] == '.')
			continue;
		if (snprintf(file, sizeof(file), "%s/%s", path, entry->d_name) >= (int)sizeof(file))
			count = -1;
		else
			count = replay_file(file) ? -1 : count + 1;
	}
	closedir(dir);
	if (count == 0)
		fprintf(stderr, "%s: no inputs\n", path);
	return count;
}

static int replay(const char *path)
{
	struct stat st;
	int count;

	if (stat(path, &st) != 0) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		return -1;
	}
	count = S_ISDIR(st.st_mode) ? replay_folder(path) : replay_file(path) ? -1 : 1;
	if (count <= 0)
		return -1;
	printf("%s: %d inputs\n", path, count);
	return 0;
}

int main(int argc, char **argv)
{
	int failed = 0;

	if (argc < 2)
		return replay(PF_FUZZ_CORPORA PF_FUZZ_TARGET) ? 1 : 0;
	for (int i = 1; i < argc; i++)
		failed |= replay(argv[i]);
	return failed ? 1 : 0;
}
