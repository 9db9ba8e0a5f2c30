/* The smallest program: compiled with nothing but what `make install` installs and pkg-config tells. */
#include <qauth.h>
#include <stdio.h>

int main(void)
{
    qauth_engine *engine = NULL;
    qauth_error *error = NULL;
    if (qauth_engine_new(&engine, &error) != QAUTH_OK) {
        fprintf(stderr, "%s\n", qauth_error_message(error));
        qauth_error_free(error);
        return 1;
    }
    printf("libqauth %s, ABI %u\n", qauth_version(), (unsigned)qauth_abi_version());
    qauth_engine_free(engine);
    return qauth_abi_version() == QAUTH_ABI_VERSION ? 0 : 1;
}
