/* fuzz_keys: keys files, their lines, and files with a key pair (keys.h).
 *
 * Input: the file's content. Checked: what is taken is a key with a name and a role, none is there twice, and
 * as a line it is read as the same; a line of a keys file ends where it ends.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libtx/shared/keys.h"
#include "libtx/shared/wire.h"
#include "tests/fuzz/targets.h"

enum { LINE = 1024 };

static void check_entry(const struct key_entry *entry)
{
    struct key_entry again;
    char line[LINE], second[LINE];

    fuzz_check(wire_name_valid(entry->name) && entry->roles != 0 && entry->roles <= ROLES_ALL);
    fuzz_check(grant_check(entry->grant, NULL) == TX_OK);
    key_entry_format(entry, line, sizeof line);
    fuzz_check(key_entry_parse(line, &again, NULL) == TX_OK && key_equal(again.key, entry->key));
    key_entry_format(&again, second, sizeof second);
    fuzz_check(strcmp(line, second) == 0 && again.roles == entry->roles);
}

/* A key that is taken stands in the file behind a line's begin or a blank, and before any «#» in its line. */
static void check_place(const struct key_entry *entry, const uint8_t *data, size_t len)
{
    char text[KEY_TEXT_SIZE];
    const uint8_t *at = data, *begin;
    bool found = false;

    key_format(entry->key, text);
    while (!found && (at = memmem(at, (size_t)(data + len - at), text, KEY_TEXT_SIZE - 1)) != NULL) {
        begin = memrchr(data, '\n', (size_t)(at - data));
        begin = begin == NULL ? data : begin + 1;
        found = memchr(begin, '#', (size_t)(at - begin)) == NULL;
        at++;
    }
    fuzz_check(found);
}

static void try_keys_file(const uint8_t *data, size_t len)
{
    const char *path = fuzz_file(data, len);
    struct tx_error e = {0};
    struct keyring r;

    if (keyring_load(&r, path, &e) == TX_OK) {
        for (size_t i = 0; i < r.n; i++) {
            check_entry(&r.entries[i]);
            check_place(&r.entries[i], data, len);
            fuzz_check(keyring_find(&r, r.entries[i].key) == &r.entries[i]);
        }
    } else {
        fuzz_check((e.code == TX_EINVAL || e.code == TX_EBUSY) && strncmp(e.msg, path, strlen(path)) == 0);
    }
    keyring_release(&r);
}

static void try_line(const char *text)
{
    struct key_entry entry;
    struct tx_error e = {0};
    unsigned roles = roles_parse(text);
    char words[ROLES_TEXT_SIZE];

    if (key_entry_parse(text, &entry, &e) == TX_OK)
        check_entry(&entry);
    else
        fuzz_check(e.code == TX_EINVAL && *e.msg != '\0');
    roles_format(roles, words);
    fuzz_check(roles == 0 || roles_parse(words) == roles);
    (void)grant_has(text, "bank_a");
}

static void try_identity(const uint8_t *data, size_t len)
{
    const char *path = fuzz_file(data, len);
    struct tx_error e = {0};
    struct identity i;

    if (identity_load(&i, path, &e) != TX_OK)
        fuzz_check(e.code == TX_EINVAL);
    else
        fuzz_check(memcmp(i.secret_key + 32, i.public_key, KEY_SIZE) == 0);
}

void fuzz_keys_run(const uint8_t *data, size_t len)
{
    char *text = fuzz_text(data, len);

    fuzz_random_begin(1);
    try_keys_file(data, len);
    try_line(text);
    try_identity(data, len);
    free(text);
}

void fuzz_keys_seed(struct fuzz_sink *to)
{
    struct key_entry entry = {.roles = ROLE_AGENT | ROLE_CLIENT, .name = "bank", .grant = "bank_a,bank_b"};
    char text[2 * LINE], line[LINE], key[KEY_TEXT_SIZE];

    memset(entry.key, 7, KEY_SIZE);
    key_entry_format(&entry, line, sizeof line);
    fuzz_put_text(to, line);
    snprintf(text, sizeof text, "# name role key\n\n%s # the bank's\r\n", line);
    entry = (struct key_entry){.roles = ROLE_COORDINATOR | ROLE_OPERATOR | ROLE_OBSERVER, .name = "n-1"};
    key_entry_format(&entry, line, sizeof line);
    strcat(strcat(text, line), "\n");
    fuzz_put_text(to, text);
    key_format((const uint8_t[KEY_SIZE]){9}, key);
    snprintf(text, sizeof text, "# The secret.\nassent-secret-key %s\n", key);
    fuzz_put_text(to, text);
    memset(text, '#', LINE);
    strcpy(text + LINE - 1, line);
    fuzz_put_text(to, text);
}
