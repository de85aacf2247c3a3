/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* net/expiry.c - see net/expiry.h; PEM_X509_INFO_read_bio(3). */
#include "net/expiry.h"

#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "net/cert.h"
#include "net/ossl.h"

static time_t seconds_of(const ASN1_TIME *when)
{
	struct tm tm;

	return when && ASN1_TIME_to_tm(when, &tm) == 1 ? timegm(&tm) : 0;
}

static void take_cert(X509 *cert, struct pf_expiry *out)
{
	time_t ends = seconds_of(X509_get0_notAfter(cert));

	if (out->ends != 0 && ends >= out->ends)
		return;
	out->begins = seconds_of(X509_get0_notBefore(cert));
	out->ends = ends;
	pf_cert_describe(cert, out->who, sizeof(out->who));
}

static void take_list(X509_CRL *list, struct pf_expiry *out)
{
	time_t ends = seconds_of(X509_CRL_get0_nextUpdate(list));

	if (out->ends != 0 && ends >= out->ends)
		return;
	out->begins = seconds_of(X509_CRL_get0_lastUpdate(list));
	out->ends = ends;
	snprintf(out->who, sizeof(out->who), "a revocation list");
}

static int take_all(BIO *bio, const char *path, struct pf_expiry *out, struct pf_err *err)
{
	STACK_OF(X509_INFO) *all = PEM_X509_INFO_read_bio(bio, NULL, NULL, NULL);

	if (!all)
		return pf_ossl_err(err, PF_ERR_CONFIG, "reading %s", path);
	for (int i = 0; i < sk_X509_INFO_num(all); i++) {
		const X509_INFO *info = sk_X509_INFO_value(all, i);

		if (info->x509)
			take_cert(info->x509, out);
		if (info->crl)
			take_list(info->crl, out);
	}
	sk_X509_INFO_pop_free(all, X509_INFO_free);
	ERR_clear_error();
	if (out->ends != 0)
		return 0;
	return pf_err_set(err, PF_ERR_CONFIG, "%s holds no certificate in PEM", path);
}

int pf_expiry_read(const char *path, struct pf_expiry *out, struct pf_err *err)
{
	/* O_NONBLOCK: a FIFO of that name must not hold it up. */
	pf_auto_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;
	BIO *bio;
	int failed;

	*out = (struct pf_expiry){0};
	if (fd < 0 || fstat(fd, &st) != 0) {
		pf_err_sys(err, "opening %s", path);
		err->class = PF_ERR_CONFIG;
		return -1;
	}
	if (!S_ISREG(st.st_mode))
		return pf_err_set(err, PF_ERR_CONFIG, "%s is not a regular file", path);
	ERR_clear_error();
	bio = BIO_new_fd(fd, BIO_NOCLOSE);
	if (!bio)
		return pf_ossl_err(err, PF_ERR_SYSTEM, "reading %s", path);
	failed = take_all(bio, path, out, err);
	BIO_free(bio);
	return failed;
}
