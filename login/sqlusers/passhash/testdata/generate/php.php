<?php
// Hashes by PHP's password_hash, and by WordPress's two ways around it: php php.php > ../php.json
// phpass's crypt_private and WordPress 6.8's wp_hash_password are a few lines over md5 and password_hash, and stand here.
$passwords = ["correct horse 1", "пароль-密码-é", "e\u{301} decomposed", " spaces around ", str_repeat("x", 71), str_repeat("y", 72),
    str_repeat("z", 80), str_repeat("w", 200)];

const ITOA64 = './0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';

function phpass(string $ident, int $log2, string $password): string {
    $salt = substr(strtr(base64_encode(random_bytes(12)), '+', '.'), 0, 8);
    $hash = md5($salt . $password, true);
    for ($i = 0; $i < 1 << $log2; $i++) {
        $hash = md5($hash . $password, true);
    }
    $text = '';
    foreach (str_split($hash, 3) as $group) {
        $n = 0;
        foreach (str_split($group) as $i => $c) {
            $n |= ord($c) << (8 * $i);
        }
        for ($i = 0; $i <= strlen($group); $i++) {
            $text .= ITOA64[($n >> (6 * $i)) & 63];
        }
    }
    return $ident . ITOA64[$log2] . $salt . $text;
}

$makers = [
    'password_hash bcrypt' => fn($p) => password_hash($p, PASSWORD_BCRYPT, ['cost' => 5]),
    'password_hash argon2i' => fn($p) => password_hash($p, PASSWORD_ARGON2I, ['memory_cost' => 256, 'time_cost' => 3, 'threads' => 1]),
    'password_hash argon2id' => fn($p) => password_hash($p, PASSWORD_ARGON2ID, ['memory_cost' => 1024, 'time_cost' => 2, 'threads' => 1]),
    'crypt 2a' => fn($p) => crypt($p, '$2a$04$' . substr(strtr(base64_encode(random_bytes(18)), '+', '.'), 0, 22)),
    'crypt 2x of ASCII' => fn($p) => preg_match('/[^ -~]/', $p) ? null : crypt($p, '$2x$04$' . substr(strtr(base64_encode(random_bytes(18)), '+', '.'), 0, 22)),
    'phpass P' => fn($p) => phpass('$P$', 8, $p),
    'phpass H' => fn($p) => phpass('$H$', 9, $p),
    'WordPress 6.8' => fn($p) => '$wp' . password_hash(base64_encode(hash_hmac('sha384', $p, 'wp-sha384', true)), PASSWORD_BCRYPT, ['cost' => 4]),
];
$hashes = [];
foreach ($makers as $maker => $make) {
    foreach ($passwords as $p) {
        $hash = $make($p);
        if ($hash !== null) {
            $hashes[] = ['maker' => $maker, 'password' => $p, 'hash' => $hash];
        }
    }
}
echo json_encode(['made_by' => 'PHP ' . PHP_VERSION, 'hashes' => $hashes], JSON_PRETTY_PRINT | JSON_UNESCAPED_SLASHES), "\n";
