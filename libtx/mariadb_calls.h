/* mariadb_calls: libmariadb's functions, weak. libtx is not linked with that library: a program that enlists a
 * MYSQL has it, and one that knows PostgreSQL alone does without. Included by mariadb*.c in place of mysql.h.
 */
#ifndef LIBTX_MARIADB_CALLS_H
#define LIBTX_MARIADB_CALLS_H

#include <errmsg.h>
#include <mysql.h>

#pragma weak mariadb_connection
#pragma weak mysql_close
#pragma weak mysql_errno
#pragma weak mysql_error
#pragma weak mysql_fetch_row
#pragma weak mysql_field_count
#pragma weak mysql_free_result
#pragma weak mysql_get_optionv
#pragma weak mysql_get_server_info
#pragma weak mysql_get_server_version
#pragma weak mysql_get_socket
#pragma weak mysql_get_ssl_cipher
#pragma weak mysql_init
#pragma weak mysql_next_result
#pragma weak mysql_num_fields
#pragma weak mysql_options
#pragma weak mysql_optionsv
#pragma weak mysql_read_query_result
#pragma weak mysql_real_connect_cont
#pragma weak mysql_real_connect_start
#pragma weak mysql_send_query
#pragma weak mysql_store_result
#pragma weak mysql_thread_id

#endif
