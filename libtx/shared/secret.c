/* secret: see secret.h. */
#include "libtx/shared/secret.h"

#include <ctype.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>

static int hex_digit(char c)
{
    static const char digits[] = "0123456789abcdef";
    const char *at = c == '\0' ? NULL : strchr(digits, tolower((unsigned char)c));

    return at == NULL ? -1 : (int)(at - digits);
}

/* The letter at *text, which moves behind it; in a URI it may be written as %70. */
static int letter(const char **text)
{
    const char *p = *text;
    bool coded = p[0] == '%' && hex_digit(p[1]) >= 0 && hex_digit(p[2]) >= 0;

    *text += coded ? 3 : 1;
    return tolower(coded ? hex_digit(p[1]) << 4 | hex_digit(p[2]) : (unsigned char)p[0]);
}

/* What stands behind the word; NULL: another one stands there. */
static const char *behind_word(const char *text, const char *word)
{
    for (; *word != '\0'; word++) {
        if (*text == '\0' || letter(&text) != *word)
            return NULL;
    }
    return text;
}

/* A keyword and its «=», with or without blanks between, as libpq and its like read them; also as the end of a
 * longer keyword (sslpassword). */
static bool has_keyword(const char *settings, const char *keyword)
{
    for (const char *p = settings; *p != '\0'; p++) {
        const char *behind = behind_word(p, keyword);

        if (behind != NULL && behind[strspn(behind, " \t\n\v\f\r")] == '=')
            return true;
    }
    return false;
}

/* scheme://user:secret@host; the secret may have anything in it but a slash. */
static bool has_login(const char *settings)
{
    const char *at, *colon;

    while ((settings = strstr(settings, "://")) != NULL) {
        settings += 3;
        at = memchr(settings, '@', strcspn(settings, "/"));
        colon = strchr(settings, ':');
        if (at != NULL && colon != NULL && colon < at)
            return true;
    }
    return false;
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
