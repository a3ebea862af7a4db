/* secret: see secret.h. */
#include "libtx/shared/secret.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>

/* A keyword and its «=», with or without blanks between, as libpq and its like read them; also as the end of a
 * longer keyword (sslpassword). */
static bool has_keyword(const char *settings, const char *keyword)
{
    for (const char *p = settings; (p = strcasestr(p, keyword)) != NULL; p++) {
        const char *behind = p + strlen(keyword);

        behind += strspn(behind, " \t\n");
        if (*behind == '=')
            return true;
    }
    return false;
}

/* scheme://user:secret@host */
static bool has_login(const char *settings)
{
    const char *begin = strstr(settings, "://"), *at, *colon;

    if (begin == NULL)
        return false;
    begin += 3;
    at = memchr(begin, '@', strcspn(begin, "/? "));
    colon = strchr(begin, ':');
    return at != NULL && colon != NULL && colon < at;
}

bool secret_within(const char *settings)
{
    static const char *const keywords[] = {"password", "passwd", "pwd", "secret", "token"};

    for (size_t i = 0; i < sizeof keywords / sizeof *keywords; i++) {
        if (has_keyword(settings, keywords[i]))
            return true;
    }
    return has_login(settings);
}

int secret_check_file(int fd, struct tx_error *e)
{
    struct stat st;

    if (fstat(fd, &st) != 0)
        return err_set(e, TX_EIO, "%s", strerror(errno));
    if ((st.st_mode & (st.st_uid == 0 ? S_IWGRP | S_IXGRP | S_IRWXO : S_IRWXG | S_IRWXO)) == 0)
        return TX_OK;
    return err_set(e, TX_EREFUSED,
                   "others may read it (mode %03o), and there is a password in it; chmod 600 it",
                   (unsigned)st.st_mode & 0777);
}
