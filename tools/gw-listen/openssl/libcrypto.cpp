// CivetWeb looks for libcrypto.so, a name that only the package for developers has. This library leads on to libcrypto.so.3.
