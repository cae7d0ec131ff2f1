"""`python -m requirements.audit`: the locked packages among known vulnerabilities. Exit code 1 where one is found.

Without a network, or where the advisories of a package cannot be had, it says so and lets the rest of a check go on.
"""

import json
import subprocess
import sys
from pathlib import Path

LOCK = Path(__file__).parent / "development.txt"


def main() -> None:
    command = [
        sys.executable, "-m", "pip_audit", "--disable-pip", "--require-hashes", "-r", str(LOCK),
        "--format", "json", "--progress-spinner", "off",
    ]  # fmt: skip
    found = subprocess.run(command, check=False, capture_output=True, text=True)
    try:
        packages = json.loads(found.stdout)["dependencies"]
    except ValueError:
        reason = (found.stderr.strip().splitlines() or ["it said nothing"])[-1]
        print(f"audit: NOT DONE, no advisory could be read: {reason}")
        return
    vulnerable = [package for package in packages if package.get("vulns")]
    unknown = [package["name"] for package in packages if "skip_reason" in package]
    for package in vulnerable:
        for advisory in package["vulns"]:
            fixed = ", ".join(advisory["fix_versions"]) or "nothing yet"
            print(f"audit: {package['name']} {package['version']}: {advisory['id']}, mended in {fixed}")
    if unknown:
        print(f"audit: NOT DONE for {len(unknown)} of {len(packages)} packages, of which the advisories were not found")
    print(f"audit: {len(packages) - len(unknown)} packages looked up, {len(vulnerable)} vulnerable")
    sys.exit(1 if vulnerable else 0)


if __name__ == "__main__":
    main()
