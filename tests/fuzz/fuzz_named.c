/* fuzz_named: files with the statements that an agent may be restricted to (named.h).
 *
 * Input: one. Checked: each statement has a name, and SQL that stands in the file as it is executed; no other
 * one is.
 */
#include <stdlib.h>
#include <string.h>

#include "libtx/shared/wire.h"
#include "participant/named.h"
#include "tests/fuzz/targets.h"

/* In one line, behind its name and an equals sign, to the line's end but for blanks. */
static bool stands_in(const uint8_t *data, size_t len, const char *sql)
{
    const uint8_t *at = data, *end = data + len;
    size_t n = strlen(sql);

    while ((at = memmem(at, (size_t)(end - at), sql, n)) != NULL) {
        const uint8_t *behind = at + n;

        while (behind < end && *behind != '\0' && strchr(" \t\r", *behind) != NULL)
            behind++;
        if (behind == end || *behind == '\n')
            return true;
        at++;
    }
    return false;
}

void fuzz_named_run(const uint8_t *data, size_t len)
{
    const char *path = fuzz_file(data, len);
    struct tx_error e = {0};
    struct named t;

    if (named_load(&t, path, &e) != TX_OK) {
        fuzz_check((e.code == TX_EINVAL || e.code == TX_EBUSY) && strstr(e.msg, path) != NULL);
        return;
    }
    fuzz_check(t.restricted && t.n > 0);
    for (size_t i = 0; i < t.n; i++) {
        fuzz_check(wire_name_valid(t.list[i].name) && stands_in(data, len, t.list[i].sql));
        fuzz_check(named_resolve(&t, t.list[i].name, NULL) == t.list[i].sql);
    }
    fuzz_check(named_resolve(&t, "@", NULL) == NULL && named_resolve(&t, "DROP TABLE x", NULL) == NULL);
    named_release(&t);
}

void fuzz_named_seed(struct fuzz_sink *to)
{
    fuzz_put_text(to, "# name = SQL\n\ndebit = UPDATE accounts SET balance = balance - $2 WHERE id = $1\n"
                      " credit=UPDATE accounts SET balance = balance + $2 WHERE id = $1 -- # \r\n");
    fuzz_put_text(to, "a = b\na = c\n");
    fuzz_put_text(to, "a\n");
}
