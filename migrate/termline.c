/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migrate/termline.c - see migrate/termline.h; ioctl_tty(2). */
#include "migrate/termline.h"

#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static int columns(const struct pf_termline *line)
{
	struct winsize size;

	/* Serial lines and pipes to screen readers say 0 or nothing. */
	if (ioctl(fileno(line->out), TIOCGWINSZ, &size) != 0 || size.ws_col < 20)
		return 79;
	return size.ws_col - 1;
}

void pf_termline_init(struct pf_termline *line, FILE *out)
{
	*line = (struct pf_termline){.out = out, .active = isatty(fileno(out)) == 1};
}

void pf_termline_show(struct pf_termline *line, const char *text)
{
	int width = columns(line), length = (int)strnlen(text, 512);

	if (!line->active)
		return;
	if (length > width)
		length = width;
	fprintf(line->out, "\r%.*s%*s", length, text,
		line->shown > length ? line->shown - length : 0, "");
	fflush(line->out);
	line->shown = length;
}

void pf_termline_clear(struct pf_termline *line)
{
	if (!line->active || line->shown == 0)
		return;
	fprintf(line->out, "\r%*s\r", line->shown, "");
	fflush(line->out);
	line->shown = 0;
}

void pf_termline_end(struct pf_termline *line)
{
	if (!line->active || line->shown == 0)
		return;
	fputc('\n', line->out);
	line->shown = 0;
}
