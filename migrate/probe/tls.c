/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migrate/probe/tls.c - subject: the certificates of --tls-dir, and until when they hold. */
#include <errno.h>
#include <limits.h>
#include <openssl/ssl.h>

#include "base/cleanup.h"
#include "migrate/probe/subjects.h"
#include "net/credentials.h"
#include "net/expiry.h"

#define DAY 86400
#define SOON (14 * DAY)

static const char *const files[] = {
	"ca-cert.pem",
	"client-cert.pem",
	"server-cert.pem",
	"ca-crl.pem",
};

static void print_date(time_t when, char *out, size_t size)
{
	struct tm tm;

	if (!gmtime_r(&when, &tm) || strftime(out, size, "%Y-%m-%d %H:%M UTC", &tm) == 0)
		snprintf(out, size, "an unreadable date");
}

static int judge(const struct pf_expiry *expiry, const char *name, struct pf_found *out,
		 struct pf_err *err)
{
	time_t now = time(NULL);
	char begins[32], ends[32];

	print_date(expiry->begins, begins, sizeof(begins));
	print_date(expiry->ends, ends, sizeof(ends));
	pf_check_says(out, "until %s (%lld days), %.160s", ends,
		      (long long)((expiry->ends - now) / DAY), expiry->who);
	if (now >= expiry->ends)
		return pf_check_no(err, "%s expired on %s", name, ends);
	if (now < expiry->begins)
		return pf_check_no(err, "%s is not valid before %s: is the clock right?", name,
				   begins);
	if (expiry->ends - now < SOON)
		pf_err_hint(err, "replace it soon; files are read again at every handshake");
	return 0;
}

static int try_file(struct pf_trial *trial, struct pf_found *out, struct pf_err *err)
{
	const char *name = files[trial->row];
	struct pf_expiry expiry;
	char path[PATH_MAX];

	if ((size_t)snprintf(path, sizeof(path), "%s/%s", trial->options->tls_dir, name) >=
	    sizeof(path))
		return pf_check_no(err, "the path of %s is too long", name);
	if (pf_expiry_read(path, &expiry, err))
		return err->sys == ENOENT && trial->row > 0 ? 1 : -1;
	return judge(&expiry, name, out, err);
}

static int try_side(struct pf_trial *trial, enum pf_side side, struct pf_err *err)
{
	SSL_CTX *ctx = NULL;

	if (pf_credentials_load(trial->options->tls_dir, side, &ctx, err) == 0) {
		SSL_CTX_free(ctx);
		return 0;
	}
	return err->sys == ENOENT ? 1 : -1;
}

static int try_source(struct pf_trial *trial, struct pf_found *out, struct pf_err *err)
{
	(void)out;
	return try_side(trial, PF_SOURCE, err);
}

static int try_destination(struct pf_trial *trial, struct pf_found *out, struct pf_err *err)
{
	(void)out;
	return try_side(trial, PF_DESTINATION, err);
}

static bool wanted(const struct pf_probe_options *options)
{
	return options->tls_dir != NULL;
}

#define RENEW "have the authority issue a new one"

static const struct pf_check rows[] = {
	{"ca-cert", "ca-cert.pem", try_file, "every side needs it; " RENEW, "read access"},
	{"client-cert", "client-cert.pem", try_file, RENEW, "read access"},
	{"server-cert", "server-cert.pem", try_file, RENEW, "read access"},
	{"ca-crl", "ca-crl.pem", try_file, "have the authority issue a new list", "read access"},
	{"source", "of use to a source", try_source, NULL, "read access to the key"},
	{"destination", "of use to a destination", try_destination, NULL, "read access to the key"},
};

const struct pf_subject pf_subject_tls = {
	.name = "tls",
	.title = "Certificates of --tls-dir",
	.check = rows,
	.checks = PF_ARRAY_LEN(rows),
	.wanted = wanted,
};
